"""The base that a worker keeps in memory between rounds, and what was found out about it."""

from __future__ import annotations

from dataclasses import dataclass, field

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
