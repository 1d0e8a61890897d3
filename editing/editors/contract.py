"""What an editor is given, what it returns, and what of it may be reused.

An editor is a pure function of a model and its `BuildInputs`: it leaves the model as it was, and returns
the changed weights.  Everything around it (asking the base, writing the checkpoint, reading it back,
judging) is the same for all editors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor

from editing.cost import Cost
from editing.errors import EditingError
from editing.preflight import Preflight
from editing.progress import Progress, silent
from editing.requests import EditRequest
from editing.settings import EditSettings

Reuse = Literal["fact", "view", "order"]
"""What a result depends on, and so what a later build may reuse (the editor's *cache contract*).

`fact`: the expensive part of each fact (its key group) depends on the base and on that group alone; it
is cached under a content key, and a changed view costs what changed.
`view`: the result depends on the set of facts as a whole, in any order; a changed view costs the whole.
`order`: the result depends also on the order in which the facts are given.
"""

Planned = Callable[[Preflight], None]
"""Called with the estimate before the work begins; an exception from it calls the build off."""


@dataclass(frozen=True, slots=True)
class BuildInputs:
    """All that an edit depends on besides the model and its tokenizer."""

    requests: Sequence[EditRequest]
    settings: EditSettings
    cache: Path
    """Directory of what is kept between builds, shared by all bases."""
    base_digest: str
    """Of the weights the model has now: cached results are keyed by it."""
    corpus: Sequence[Path]
    """Files of ordinary text, for statistics."""
    kl_prompts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Subject → prompts about it whose next token is to stay as it is."""
    preserved: Sequence[EditRequest] = ()
    """Requests that are already in the weights and are to stay there (a build in chunks)."""
    partial: bool = False
    """Whether a request that cannot be edited (it cannot be tokenised, its optimisation is not finite, it
    alone does not fit in memory) is left out and named in `EditResult.failed`; else its error is raised.
    It is raised in any case where most of many requests fail: then the fault is not in single requests."""


@dataclass(frozen=True)
class Injection:
    """How the change of each group can be tried by itself: added to the output of one block."""

    blocks: str
    """Path of the model's list of blocks."""
    layer: int
    deltas: Mapping[str, Tensor]
    """Group → [d], to be added at the subject's last token."""


@dataclass(frozen=True, kw_only=True)
class EditResult:
    """Changed weights.  The model itself is left as it was."""

    tensors: dict[str, Tensor]
    """Changed parameters by full state-dict name, in the model's dtype, ready to write."""
    layers: tuple[int, ...]
    """R, the layers whose W_out changed."""
    cost: Cost
    groups: dict[str, str] = field(default_factory=dict)
    """Request id → content key of its group, where the editor forms groups."""
    injection: Injection | None = None
    """None where the editor has nothing that could be tried alone: `efficacy_alone` is then of no case."""
    failed: Mapping[str, EditingError] = field(default_factory=dict)
    """Request id → why it could not be edited; the weights are as if it had not been asked for."""


class Edit(Protocol):
    """Edits all requests of the inputs at once; raises EditingError."""

    def __call__(
        self,
        model: Any,
        tokenizer: Any,
        inputs: BuildInputs,
        *,
        planned: Planned = ...,
        progress: Progress = silent,
    ) -> EditResult: ...


class Estimate(Protocol):
    """Says what `Edit` would take; raises what that would raise before it begins."""

    def __call__(self, model: Any, tokenizer: Any, inputs: BuildInputs) -> Preflight: ...


@dataclass(frozen=True, slots=True)
class Editor:
    """One way from a view to changed weights."""

    reuse: Reuse
    edit: Edit
    estimate: Estimate

    def arranged(self, inputs: BuildInputs) -> BuildInputs:
        """The inputs with their requests by id, so that equal views give equal bytes; as given where `reuse`
        says that their order matters."""
        if self.reuse == "order":
            return inputs
        return replace(inputs, requests=tuple(sorted(inputs.requests, key=lambda request: request.id)))


def proceed(expected: Preflight) -> None:
    """The `Planned` that lets every build begin."""
