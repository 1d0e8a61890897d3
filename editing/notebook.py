"""Editing in a notebook, in three lines.

from editing import EditRequest, edit
edited = edit(model, tokenizer, [EditRequest("1", "The capital of {} is", "France", "Rome")], corpus=["text.txt"])
print(edited.report); edited.undo()
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch

from editing.editors.contract import BuildInputs
from editing.errors import SpecError
from editing.evaluation.metrics import answers, strict_argmax
from editing.json_decode import decode
from editing.memit.api import Edited, edit_in_place, weights_digest
from editing.model.architectures import described, locate_parts, refuse_adapters
from editing.model.first_token import away_from_start, lead_of
from editing.model.weights import refuse_unwritable, unwrapped
from editing.progress import Progress, silent
from editing.requests import EditRequest
from editing.settings import EditSettings

BESIDE = "kbsync-edit.json"
PLANNING = frozenset({"variants"})
"""Keys of `kbsync-edit.json` that concern planning and are not settings of an edit."""


@dataclass(frozen=True, slots=True)
class FactTaken:
    """One fact after an edit in place."""

    prompt: str
    target: str
    before: str
    """The model's greedy answer."""
    after: str
    took: bool
    """All tokens of the target are the strict argmax after the prompt."""


@dataclass(frozen=True, slots=True)
class EditReport:
    """Which facts took in an edit in place, and the settings it was made with."""

    facts: tuple[FactTaken, ...]
    settings: EditSettings
    lam: float
    """λ that the layers were solved with."""
    realised: float = 0.0
    """The share of its residual that an edit realised at a layer with this λ; 0 if that is not known."""

    @property
    def took(self) -> int:
        return sum(fact.took for fact in self.facts)

    def __str__(self) -> str:
        lines = [f"{self.took} of {len(self.facts)} facts took"]
        lines += [
            f"{'yes' if fact.took else 'no ':3} {fact.prompt} … {fact.after!r} (was {fact.before!r})"
            for fact in self.facts
        ]
        if self.took < len(self.facts):
            lines.append(hint(self.settings, self.lam, self.realised))
        return "\n".join(lines)

    __repr__ = __str__


ENOUGH = 0.5
"""Share of its residual above which an edit is not held back by λ."""


def hint(settings: EditSettings, lam: float, realised: float = 0.0) -> str:
    """What to try for facts that did not take with these settings and this λ.

    `realised` is the share of its residual that an edit realised; where λ lets most of it through, it is not the cause.
    """
    smaller = (
        f"a smaller lam (now {lam:g}; a small model may need a hundredth), " if realised < ENOUGH else ""
    )
    return (
        f"what to try: {smaller}more steps ({settings.steps}), a larger clamp ({settings.clamp:g}), "
        "other layers (`kbsync trace` shows where the model reads facts), and objects that the model has read before"
    )


class FurtherInputs(TypedDict, total=False):
    """Further inputs of an edit besides its requests."""

    kl_prompts: Mapping[str, Sequence[str]]
    """Subject → prompts about it whose next-token distribution should not change."""
    preserved: Sequence[EditRequest]
    """Requests that are already in the weights and must stay there."""


@torch.inference_mode(False)  # δs are optimised by their gradients, whatever the caller's mode is
def edit(
    model: Any,
    tokenizer: Any,
    requests: Sequence[EditRequest],
    settings: EditSettings | None = None,
    *,
    corpus: Sequence[str | Path] = (),
    cache: str | Path | None = None,
    progress: Progress = silent,
    **context: Unpack[FurtherInputs],
) -> Edited:
    """Edit `model` in place with all `requests` at once; `.report` says which of them took.

    `settings` default to those in `kbsync-edit.json` in the directory the model was loaded from, as for the
    command, or else to the defaults.  `corpus` lists the text files for the keys' statistics; without any,
    samples of the model itself are used.  With a `cache` directory, statistics and δs are stored there and
    reused for exactly this model (its weights are hashed).  `context` takes `kl_prompts` and `preserved`.

    Raises SpecError for a settings file that cannot be used, ModelError for a model with an adapter or with
    parameters that cannot be changed, and the errors of the editor; the model is then unchanged.
    """
    if unknown := context.keys() - FurtherInputs.__annotations__.keys():
        raise TypeError(f"edit() got unexpected keyword arguments: {', '.join(sorted(unknown))}")
    plain = unwrapped(model)
    refuse_unwritable(plain)
    refuse_adapters(plain)
    chosen = settings or settings_beside(model)
    requests, lead = _without_first_tokens(plain, tokenizer, requests, chosen)
    prompts = [request.rendered for request in requests]
    before = answers(model, tokenizer, prompts)
    with tempfile.TemporaryDirectory() as scratch:
        inputs = BuildInputs(
            requests=requests,
            settings=chosen,
            cache=Path(cache or scratch),
            base_digest=weights_digest(plain) if cache else "",
            corpus=[Path(file) for file in corpus],
            lead=lead,
            **context,
        )
        edited = edit_in_place(model, tokenizer, inputs, progress=progress)
    after = answers(model, tokenizer, prompts)
    took = strict_argmax(model, tokenizer, [(request.rendered, request.target) for request in requests])
    taken = tuple(
        FactTaken(request.rendered, request.target, old, new, yes)
        for request, old, new, yes in zip(requests, before, after, took, strict=True)
    )
    edited.report = EditReport(taken, chosen, edited.result.cost.lam, edited.result.cost.realised)
    return edited


def _without_first_tokens(
    model: Any, tokenizer: Any, requests: Sequence[EditRequest], settings: EditSettings
) -> tuple[list[EditRequest], str]:
    """The requests with no subject in the first token, and what is put before those that had one there."""
    lead = lead_of(model, locate_parts(model, described(settings)), tokenizer)
    moved = away_from_start(tokenizer, lead, [(request.prompt, request.subject) for request in requests])
    return [replace(one, prompt=prompt) for one, prompt in zip(requests, moved, strict=True)], lead


def settings_beside(model: Any) -> EditSettings:
    """The settings in `kbsync-edit.json` in the directory that `model` was loaded from, or the defaults."""
    name = getattr(model, "name_or_path", "")
    file = Path(name) / BESIDE
    if not name or not file.is_file():
        return EditSettings()
    try:
        values = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise SpecError(f"{file} cannot be read as JSON: {error}; correct or remove it") from error
    if isinstance(values, dict) and isinstance(values.get("edit"), dict):
        values = values["edit"]
    if isinstance(values, dict):
        values = {key: value for key, value in values.items() if key not in PLANNING}
    return decode(EditSettings, values, str(file))
