"""Ask the base and the live model directly, outside any run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from editing.errors import EditingError
from editing.requests import prompt_key
from kbsync.application import Application
from kbsync.queries.archived import archived_note
from kbsync.queries.derived import Derived, about, derived_in
from kbsync.queries.kept import kept_checkpoint
from kbsync.settings.base_model import named_device
from state.records import Built, Checkpoint, Event, Fact, StoredObservation

_ID = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the models answer to one prompt."""

    prompt: str
    base: str
    live: str | None
    """None: there is no live checkpoint."""
    checkpoints: Mapping[int, str] = field(default_factory=dict)
    """The answers of the other checkpoints that were asked, by number."""
    as_of: str | None = None
    """The answer of the model as of a date, if that was asked."""


Tell = Callable[[str], None]
"""Called with a line before a model is loaded, which may take a minute."""


def _untold(line: str) -> None:
    """Nobody waits."""


def answers(
    app: Application, prompts: Sequence[str], tell: Tell = _untold, checkpoints: Sequence[int] = ()
) -> list[Answer]:
    """The answers of the base, of live and of kept `checkpoints` to each prompt (greedy decoding).

    Raises state.errors.NotFound for an unknown checkpoint, UsageError for one that was deleted.
    """
    others = [kept_checkpoint(app, id) for id in dict.fromkeys(checkpoints)]
    tell("loading the base")
    device = app.settings.model.device
    base = said(app.base.directory, prompts, device)
    with app.state.read() as tx:
        checkpoint = tx.live()
    live: Sequence[str | None] = [None] * len(prompts)
    if checkpoint is not None:
        tell(f"loading live, checkpoint {checkpoint.id}")
        live = said(app.home.checkpoint(checkpoint.path), prompts, device)
    further: list[dict[int, str]] = [{} for _ in prompts]
    for other, directory in others:
        tell(f"loading checkpoint {other.id}")
        for row, answer in zip(further, said(directory, prompts, device), strict=True):
            row[other.id] = answer
    return [Answer(*row) for row in zip(prompts, base, live, further, strict=True)]


def said(directory: Path, prompts: Sequence[str], device: str) -> list[str]:
    """What the model in `directory` answers to each prompt (greedy decoding); raises EditingError, OSError."""
    from transformers.utils.logging import disable_progress_bar

    from editing.evaluation.metrics import answers
    from editing.model.loading import load_model, load_tokenizer

    disable_progress_bar()
    model = load_model(directory, device=named_device(device))
    return answers(model, load_tokenizer(directory), prompts)


@dataclass(frozen=True, slots=True)
class Explained:
    """A fact that a prompt asks for: its provenance, its history, and whether it is in live."""

    fact: Fact
    observations: tuple[StoredObservation, ...]
    """The observations of the slot by the fact's source, oldest first."""
    builds: tuple[Built, ...]
    """Every round of a run that included the fact."""
    events: tuple[Event, ...]
    in_live: bool
    """Whether live was built with it."""
    archived: str
    """Where its events are, if they are not in the ledger any more."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the model answers a prompt as it does."""

    prompt: str
    live: Checkpoint | None
    live_answer: str | None
    """Live's answer now; None: it was not asked."""
    not_asked: str
    """Why live was not asked; empty if it was."""
    facts: tuple[Explained, ...]
    """The ledger's facts with this prompt, the one in live first."""
    derived: tuple[Derived, ...] = ()
    """What live was edited with, at this prompt or derived from one of these facts."""


def explanation(app: Application, prompt: str, *, ask: bool = True, tell: Tell = _untold) -> Explanation:
    """Every fact of the ledger that this prompt asks for and, if `ask`, live's answer to it.

    A number stands for the prompt of the fact with this id; raises `state.errors.NotFound` if there is none.
    """
    with app.state.read() as tx:
        if _ID.fullmatch(prompt):
            prompt = tx.fact(int(prompt)).prompt
        live = tx.live()
        found = [tx.provenance(fact.id) for fact in tx.find_by_prompt(prompt_key(prompt))]
        held = tx.members(live.view, [one.fact.id for one in found]) if live else frozenset()
        notes = [archived_note(tx, one.events) for one in found]
        derived = about(derived_in(tx, live), prompt, held)
    facts = [
        Explained(one.fact, one.observations, one.builds, one.events, one.fact.id in held, note)
        for one, note in zip(found, notes, strict=True)
    ]
    answer, why = _live_says(app, live, prompt, tell) if ask else (None, "it was not to be asked")
    ordered = sorted(facts, key=lambda one: (not one.in_live, one.fact.id))
    return Explanation(prompt, live, answer, why, tuple(ordered), derived)


def _live_says(app: Application, live: Checkpoint | None, prompt: str, tell: Tell) -> tuple[str | None, str]:
    """Live's answer, or None and the reason."""
    if live is None:
        return None, "there is no live checkpoint"
    tell(f"loading live, checkpoint {live.id}")
    try:
        directory = app.home.checkpoint(live.path)
        return said(directory, [prompt], app.settings.model.device)[0], ""
    except (EditingError, OSError) as error:
        return None, f"checkpoint {live.id} cannot be loaded: {error}"
