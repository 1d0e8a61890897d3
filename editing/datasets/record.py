"""One fact of a data set."""

from __future__ import annotations

from dataclasses import dataclass

from editing.requests import EditRequest


@dataclass(frozen=True, slots=True)
class Record:
    """One fact to edit, with the prompts used to judge it, all rendered."""

    request: EditRequest
    previous: str | None = None
    """The previous object (o_c of the paper)."""
    paraphrases: tuple[str, ...] = ()
    neighbours: tuple[tuple[str, str], ...] = ()
    """(prompt, answer) of facts that should not change."""
    generation: tuple[str, ...] = ()
    """Prompts for free generation about the subject."""
    questions: tuple[str, ...] = ()
    """Templates of questions whose answer is the target; a model with a chat template is asked them, and edited with
    the first."""
    relation: str = ""
    """What relation the fact has, if the data set says so; mixtures and categories go by it."""
    consequences: tuple[tuple[str, str], ...] = ()
    """(prompt, answer) of questions whose answer follows from this fact and others."""
    references: tuple[str, ...] = ()
    """Texts about subjects that truly have the new object, which generated text is compared with (RS)."""
