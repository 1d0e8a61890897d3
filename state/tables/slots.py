"""The watched slots, and what they are rendered with."""

from __future__ import annotations

from sqlalchemy import Index
from sqlmodel import Field

from state.tables.base import LedgerTable, key


class Slots(LedgerTable, table=True):
    """Every slot ever named; the rest of the ledger refers to it by id, so its text is indexed once.

    Label, template and prompt key are null until the slot is rendered (an observation may come first).
    """

    __tablename__ = "slots"
    __table_args__ = (
        Index("uq_slots_slot", "subject", "relation", unique=True),
        Index("ix_slots_relation", "relation", "id"),
        Index("ix_slots_prompt_key", "prompt_key", "relation"),
    )
    id: int = key()
    subject: str
    relation: str
    subject_label: str | None
    template: str | None
    prompt_key: str | None


class Renderings(LedgerTable, table=True):
    """What the slots of each relation are rendered with."""

    __tablename__ = "renderings"
    relation: str = Field(primary_key=True)
    template: str
    folding: str
    pending: bool
