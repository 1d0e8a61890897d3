"""The contract of an editor: its inputs, its result, and which results can be reused.

An editor is a pure function of a model and its `BuildInputs`: it returns the changed weights and leaves the
model unchanged.  Everything around it (asking the base, writing the checkpoint, reading it back, judging) is the
same for all editors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor

from editing.cost import Cost
from editing.errors import EditingError
from editing.modes import Mode
from editing.preflight import Preflight
from editing.progress import Progress, silent
from editing.requests import EditRequest
from editing.settings import EditSettings

Reuse = Literal["fact", "view", "order"]
"""What a result depends on, and therefore what a later build may reuse (the editor's *cache contract*).

`fact`: the expensive part of each fact (its key group) depends only on the base and that group; it is
cached under a content key, so a changed view costs only what changed.
`view`: the result depends on the set of facts as a whole, in any order; a changed view is rebuilt entirely.
`order`: the result also depends on the order in which the facts are given.
"""

Failed = Callable[[str, EditingError], object]
"""Called with the id of a request that cannot be edited and the reason; the build continues without it."""

Planned = Callable[[Preflight], None]
"""Called with the estimate before the work begins; raising an exception cancels the build."""


@dataclass(frozen=True, slots=True)
class BuildInputs:
    """Everything that an edit depends on besides the model and its tokenizer."""

    requests: Sequence[EditRequest]
    settings: EditSettings
    cache: Path
    """Cache directory that is kept between builds and shared by all bases."""
    base_digest: str
    """Digest of the model's weights; part of every cache key."""
    corpus: Sequence[Path]
    """Text files for the statistics."""
    kl_prompts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Subject → prompts about it whose next-token distribution should not change."""
    preserved: Sequence[EditRequest] = ()
    """Requests that are already in the weights and must stay there (a build in chunks)."""
    edited: str = ""
    """Digest of the edits that the model's weights already have, if it is edited in sequence.  Statistics and context
    prefixes are then still those of the base; what depends on the current weights has this in its cache key."""
    kept: Sequence[tuple[str, str]] = ()
    """(template, subject) of sentences whose meaning should not change; used if `settings.keep` is above 0."""
    lead: str | None = None
    """What is put before a prompt whose subject would end in the first token, if that was measured already; None: it is
    measured (`first_token.lead_of`)."""
    max_rank: int | None = None
    """Largest rank of a layer's update, for editors that solve least squares; None: no limit.  The fit is the best one
    in the metric of the solve (`editing/memit/low_rank.py`)."""
    partial: bool = False
    """Whether a request that cannot be edited (it cannot be tokenised, its optimisation is not finite, or it does
    not fit in memory even alone) is left out and named in `EditResult.failed`; otherwise its error is raised.  If most
    of many requests fail, an error is always raised, since the cause is then not in single requests."""

    def reporter(self, failed: dict[str, EditingError]) -> Failed | None:
        """What records in `failed` why a request cannot be edited (the first reason); None if its error is raised."""
        return failed.setdefault if self.partial else None


@dataclass(frozen=True)
class Injection:
    """How the δ of each group can be tested alone: added to the output of one block."""

    blocks: str
    """Path of the model's list of blocks."""
    layer: int
    deltas: Mapping[str, Tensor]
    """Group → δ [d], to be added at the subject's last token."""


@dataclass(frozen=True, kw_only=True)
class EditResult:
    """Changed weights.  The model itself is unchanged."""

    tensors: dict[str, Tensor]
    """Changed parameters by full state-dict name, in the model's dtype, ready to write."""
    layers: tuple[int, ...]
    """R, the layers whose W_out changed."""
    cost: Cost
    groups: dict[str, str] = field(default_factory=dict)
    """Request id → content key of its group, if the editor forms groups."""
    injection: Injection | None = None
    """None if the editor has no δs that can be tested alone; `efficacy_alone` then has no cases."""
    failed: Mapping[str, EditingError] = field(default_factory=dict)
    """Request id → why it could not be edited; the weights are as if it had not been requested."""


class Edit(Protocol):
    """Edit all requests of the inputs at once; raises EditingError."""

    def __call__(
        self,
        model: Any,
        tokenizer: Any,
        inputs: BuildInputs,
        *,
        planned: Planned = ...,
        progress: Progress = silent,
    ) -> EditResult: ...


class Share(Protocol):
    """Compute share `number` of `of` of a part of an edit into the cache, where the later `Edit` finds it.

    Returns the seconds of each phase.  Raises what `Edit` raises, but not for single requests.
    """

    def __call__(
        self,
        model: Any,
        tokenizer: Any,
        inputs: BuildInputs,
        share: tuple[int, int],
        progress: Progress = silent,
    ) -> Mapping[str, float]: ...


class LayerPart(Protocol):
    """Compute a part of one layer's update into the cache: the layer at index `step` of those that are edited, once
    those before it are done.

    Returns the seconds of each phase.  Raises what `Edit` raises, but not for single requests.
    """

    def __call__(
        self,
        model: Any,
        tokenizer: Any,
        inputs: BuildInputs,
        step: int,
        share: tuple[int, int],
        progress: Progress = silent,
    ) -> Mapping[str, float]: ...


class Estimate(Protocol):
    """Estimate the cost of `Edit`; raises the errors that `Edit` would raise before its work begins."""

    def __call__(self, model: Any, tokenizer: Any, inputs: BuildInputs) -> Preflight: ...


@dataclass(frozen=True, slots=True)
class Editor:
    """One method that turns a view into changed weights."""

    reuse: Reuse
    edit: Edit
    estimate: Estimate
    shares: Mapping[Mode, Share] = field(default_factory=dict)
    """The parts of an edit that several machines can divide among them, `statistics` or `residuals`."""
    by_layer: Mapping[Mode, LayerPart] = field(default_factory=dict)
    """What follows from the parts, layer by layer: `keys`, which several machines can divide among them, and `solve`,
    which one does.  Both or neither; once all layers are solved, `edit` finds the result."""

    def arranged(self, inputs: BuildInputs) -> BuildInputs:
        """The inputs with their requests sorted by id, so that equal views give equal bytes; unsorted if `reuse`
        says that their order matters."""
        if self.reuse == "order":
            return inputs
        return replace(inputs, requests=tuple(sorted(inputs.requests, key=lambda request: request.id)))


def fail_requests(failed: Failed | None, ids: Iterable[str], error: EditingError) -> None:
    """Report the requests with these ids to `failed` with their error; without `failed`, raise it."""
    for id in ids:
        if failed is None:
            raise error
        failed(id, error)


def proceed(expected: Preflight) -> None:
    """The default `Planned`, which lets every build begin."""
