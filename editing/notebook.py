"""MEMIT in three lines, for a notebook.

from editing import EditRequest, edit
edited = edit(model, tokenizer, [EditRequest("1", "The capital of {} is", "France", "Rome")], corpus=["text.txt"])
print(edited.report); edited.undo()
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editing.errors import SpecError
from editing.evaluation.metrics import answers, strict_argmax
from editing.json_decode import decode
from editing.memit import api
from editing.memit.api import Edited
from editing.progress import Progress, silent
from editing.requests import EditRequest
from editing.settings import EditSettings

BESIDE = "kbsync-edit.json"
PLANNING = frozenset({"variants"})
"""Keys of that file that plan an edit rather than make it."""


@dataclass(frozen=True, slots=True)
class FactTaken:
    """One fact after an edit in place."""

    prompt: str
    target: str
    before: str
    """What the model answered, greedily."""
    after: str
    took: bool
    """All tokens of the target are the strict argmax after the prompt."""


@dataclass(frozen=True, slots=True)
class EditReport:
    """Which facts an edit in place made the model say, and what it was made with."""

    facts: tuple[FactTaken, ...]
    settings: EditSettings

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
            lines.append(hint(self.settings))
        return "\n".join(lines)

    __repr__ = __str__


def hint(settings: EditSettings) -> str:
    """What to try where facts did not take."""
    return (
        f"what to try: a smaller lam (now {settings.lam:g}; a small model may need a hundredth), more steps "
        f"({settings.steps}), a larger clamp ({settings.clamp:g}), other layers (`kbsync trace` shows where the "
        "model reads facts), and objects that the model has read before"
    )


def edit(
    model: Any,
    tokenizer: Any,
    requests: Sequence[EditRequest],
    settings: EditSettings | None = None,
    *,
    corpus: Sequence[str | Path],
    cache: str | Path | None = None,
    kl_prompts: Mapping[str, Sequence[str]] | None = None,
    preserved: Sequence[EditRequest] = (),
    progress: Progress = silent,
) -> Edited:
    """Edit `model` in place with all `requests` at once; `.report` says which of them took.

    `settings` are by default those in `kbsync-edit.json` beside the model that was loaded, as the command finds
    them, or else the defaults.  See `editing.memit.api.edit` for the rest.  Raises SpecError for a file of
    settings that cannot be used.
    """
    chosen = settings or settings_beside(model)
    prompts = [request.rendered for request in requests]
    before = answers(model, tokenizer, prompts)
    edited = api.edit(
        model,
        tokenizer,
        requests,
        chosen,
        corpus=corpus,
        cache=cache,
        kl_prompts=kl_prompts,
        preserved=preserved,
        progress=progress,
    )
    after = answers(model, tokenizer, prompts)
    took = strict_argmax(model, tokenizer, [(request.rendered, request.target) for request in requests])
    rows = zip(requests, before, after, took, strict=True)
    edited.report = EditReport(
        tuple(FactTaken(request.rendered, request.target, old, new, yes) for request, old, new, yes in rows),
        chosen,
    )
    return edited


def settings_beside(model: Any) -> EditSettings:
    """What `kbsync-edit.json` in the directory that `model` was loaded from says, or the defaults."""
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
