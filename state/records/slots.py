"""The watched slots, and what they are rendered with."""

from __future__ import annotations

from dataclasses import dataclass

SlotKey = tuple[str, str]
"""(subject, relation): what names a slot."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One watched (subject, relation) and the prompt that it renders to now."""

    subject: str
    relation: str
    subject_label: str
    template: str
    prompt_key: str
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Rendering:
    """What the slots of a relation are rendered with."""

    relation: str
    template: str
    folding: str
    """Which folding made their prompt keys."""
    pending: bool = False
    """Slots have been rendered with it that were not admitted again yet."""
