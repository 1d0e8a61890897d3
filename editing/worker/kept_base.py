"""The base that a worker keeps in memory between rounds, and what was found out about it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from editing.evaluation.cases import Known
from editing.evaluation.responses import Responses
from editing.model.architectures import described, locate_parts
from editing.model.first_token import lead_of
from editing.spec import BuildSpec
from editing.storage.loaded import LoadedBase

KEPT = 4
"""Maximum number of checkpoints whose answers are kept between rounds."""


@dataclass
class KeptBase:
    """The base that the worker keeps between rounds, with the answers that it and its checkpoints gave so far."""

    loaded: LoadedBase
    device: str | None
    """The device that the spec asked for."""
    base: Responses = field(default_factory=Responses)
    checkpoints: dict[str, Responses] = field(default_factory=dict)
    """By digest, the last used at the end: what was measured of a candidate is not asked again once it is live."""
    _lead: str | None = None
    _begun: tuple[BuildSpec, BuildSpec, Known] | None = None

    def begin(self, given: BuildSpec, spec: BuildSpec, known: Known) -> None:
        """Keep what became of the spec `given` of a part of a build, for the next part of the same build."""
        self._begun = (_of_build(given), spec, known)

    def begun(self, given: BuildSpec) -> tuple[BuildSpec, Known] | None:
        """The spec with what was found out about its facts, if another part of the same build came just before."""
        if self._begun is None or self._begun[0] != _of_build(given):
            return None
        _, spec, known = self._begun
        return replace(spec, mode=given.mode, share=given.share, step=given.step), known

    def keep(self, digest: str, responses: Responses) -> Responses:
        """Keep the answers of a checkpoint, of `KEPT` checkpoints at most."""
        self.checkpoints.pop(digest, None)
        self.checkpoints[digest] = responses
        for oldest in list(self.checkpoints)[:-KEPT]:
            del self.checkpoints[oldest]
        return responses

    def lead(self, spec: BuildSpec) -> str:
        """What is put before a prompt that begins with its subject; measured once (`first_token.lead_of`)."""
        if self._lead is None:
            model = self.loaded.model
            parts = locate_parts(model, described(spec.settings))
            self._lead = lead_of(model, parts, self.loaded.tokenizer)
        return self._lead


def _of_build(spec: BuildSpec) -> BuildSpec:
    """`spec` without what the parts of one build differ in."""
    return replace(spec, mode="build", share=(0, 1), step=0)
