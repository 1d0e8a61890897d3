"""Asking the models directly, outside any run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from editing.requests import prompt_key
from kbsync.application import Application
from state.records import Provenance


@dataclass(frozen=True, slots=True)
class Answer:
    prompt: str
    base: str
    live: str | None
    """None: there is no live checkpoint."""


def answers(app: Application, prompts: Sequence[str]) -> list[Answer]:
    """What the base and live say to each prompt (greedy decoding)."""
    base = _said(app.base.directory, prompts, app.settings.model.device)
    with app.state.read() as tx:
        checkpoint = tx.live()
    if checkpoint is None:
        return [Answer(prompt, answer, None) for prompt, answer in zip(prompts, base, strict=True)]
    live = _said(app.home.checkpoint(checkpoint.path), prompts, app.settings.model.device)
    return [Answer(*row) for row in zip(prompts, base, live, strict=True)]


def _said(directory: Path, prompts: Sequence[str], device: str) -> list[str]:
    from transformers.utils.logging import disable_progress_bar

    from editing.evaluation.metrics import answers
    from editing.model.loading import load_model, load_tokenizer

    disable_progress_bar()
    model = load_model(directory, device=None if device == "auto" else device)
    return answers(model, load_tokenizer(directory), prompts)


def explanation(app: Application, prompt: str) -> list[Provenance]:
    """Every fact of the ledger that this prompt asks for, with where it came from and what was done."""
    with app.state.read() as tx:
        return [tx.provenance(fact.id) for fact in tx.find_by_prompt(prompt_key(prompt))]
