"""Editing in sequence: turn by turn, each on the weights that the turn before left.

kbsync builds every view from the base, so none of this is its way; these are the published procedures that it is
compared with.  Statistics and context prefixes are those of the base throughout; keys, residuals and gradients are read
from the current weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

from editing.cost import Cost
from editing.editors.contract import BuildInputs, Edit, Editor, EditResult, Estimate, Planned, proceed
from editing.errors import EditingError
from editing.memit.groups import without_conflicts
from editing.model.weights import copies_of, growth, parameter_named, write_weights
from editing.preflight import Preflight
from editing.progress import Progress, silent
from editing.requests import EditRequest

LATER = "the weights of later turns"
"""Stands for them in an estimate: nothing that is cached belongs to them."""


@dataclass
class EditSequence:
    """A model that is edited in place, turn by turn."""

    model: Any
    tokenizer: Any
    inputs: BuildInputs
    """Everything but the requests, which each turn brings."""
    edit: Edit
    """Edits one turn."""
    preserves: bool = False
    """Whether the keys of earlier turns are preserved (`BuildInputs.preserved`)."""
    earlier: list[EditRequest] = field(default_factory=list)
    """The requests that are in the weights."""
    edited: str = ""
    """Digest of all turns so far."""
    original: dict[str, Tensor] = field(default_factory=dict)
    """The changed parameters as they were before the first turn."""

    def turn(self, requests: Sequence[EditRequest], *, progress: Progress = silent) -> EditResult:
        """Edit `requests` into the model; raises the errors of the editor.

        What an earlier turn said of the same prompt is superseded: its key is not preserved any more.
        """
        prompts = {request.rendered for request in requests}
        self.earlier = [request for request in self.earlier if request.rendered not in prompts]
        inputs = replace(
            self.inputs,
            requests=tuple(requests),
            preserved=tuple(self.earlier) if self.preserves else (),
            edited=self.edited,
        )
        result = self.edit(self.model, self.tokenizer, inputs, progress=progress)
        self.original |= copies_of(self.model, result.tensors.keys() - self.original.keys())
        write_weights(self.model, result.tensors)
        self.earlier += [request for request in requests if request.id not in result.failed]
        content = json.dumps(
            [self.edited, asdict(inputs.settings), [asdict(request) for request in requests]]
        )
        self.edited = hashlib.sha256(content.encode()).hexdigest()
        return result

    def retract(self, ids: Collection[str]) -> None:
        """Preserve the keys of these requests no longer.  Nothing un-edits them: a sequence cannot."""
        self.earlier = [request for request in self.earlier if request.id not in ids]

    def restore(self) -> None:
        """Undo all turns, bit for bit."""
        write_weights(self.model, self.original)
        self.original, self.earlier, self.edited = {}, [], ""


@dataclass(frozen=True)
class Turns:
    """How the requests of one build are edited in sequence."""

    inputs: BuildInputs
    """With the settings that every turn uses."""
    edit: Edit
    estimate: Estimate
    """Of all requests in one turn."""
    size: int
    """Requests in a turn."""
    preserves: bool = False


@dataclass(frozen=True)
class Sequential:
    """An editor that works in sequence."""

    of: Callable[[BuildInputs], Turns]
    """Makes the turns of one build; raises SpecError for options that make no sense."""

    @property
    def editor(self) -> Editor:
        """The result depends on the order of the facts."""
        return Editor(reuse="order", edit=self.edit, estimate=self.estimate)

    def edit(
        self,
        model: Any,
        tokenizer: Any,
        inputs: BuildInputs,
        *,
        planned: Planned = proceed,
        progress: Progress = silent,
    ) -> EditResult:
        """Edit the requests turn by turn, in their order; the model is restored.

        What the turns computed is cached under keys that cover all turns before, so an interrupted build resumes.
        """
        turns = self.of(inputs)
        expected = _expected(turns, model, tokenizer)
        planned(expected)
        failed: dict[str, EditingError] = {}
        requests = without_conflicts(inputs.requests, inputs.reporter(failed))
        sequence = EditSequence(model, tokenizer, turns.inputs, turns.edit, turns.preserves)
        results: list[EditResult] = []
        try:
            for start in range(0, len(requests), turns.size):
                results.append(sequence.turn(requests[start : start + turns.size]))
                failed |= results[-1].failed
                progress("targets", min(start + turns.size, len(requests)), len(requests))
            tensors = copies_of(model, sequence.original.keys())
        finally:
            sequence.restore()
        layers = tuple(sorted({layer for result in results for layer in result.layers}))
        cost = _summed(results, expected, _growth(model, tensors, results))
        return EditResult(tensors=tensors, layers=layers, cost=cost, failed=failed)

    def estimate(self, model: Any, tokenizer: Any, inputs: BuildInputs) -> Preflight:
        """Estimate the cost of `edit` with the same inputs."""
        return _expected(self.of(inputs), model, tokenizer)


def _expected(turns: Turns, model: Any, tokenizer: Any) -> Preflight:
    """The estimate of all requests in one turn; with preserved keys, each turn reads those of all before it."""
    alone = turns.estimate(model, tokenizer, replace(turns.inputs, edited=LATER))
    count = -(-len(turns.inputs.requests) // turns.size)
    return replace(alone, seconds_keys=alone.seconds_keys * ((count + 1) / 2 if turns.preserves else 1))


def _growth(model: Any, tensors: dict[str, Tensor], results: Sequence[EditResult]) -> dict[int, float]:
    """‖W + Δ‖ / ‖W‖ by layer, of all turns together."""
    by_name = dict(zip(results[-1].tensors, results[-1].cost.growth, strict=True)) if results else {}
    return {layer: growth(parameter_named(model, name), tensors[name]) for name, layer in by_name.items()}


def _summed(results: Sequence[EditResult], expected: Preflight, growth: dict[int, float]) -> Cost:
    """The cost of all turns."""
    seconds: dict[str, float] = {}
    for result in results:
        for phase, spent in result.cost.seconds.items():
            seconds[phase] = seconds.get(phase, 0.0) + spent
    return Cost(
        groups=sum(result.cost.groups for result in results),
        groups_optimised=sum(result.cost.groups_optimised for result in results),
        groups_cached=sum(result.cost.groups_cached for result in results),
        seconds=seconds,
        ridges=dict(results[-1].cost.ridges) if results else {},
        growth=growth,
        preflight=expected,
    )
