"""What is wanted: facts, the prompts that judge them, and the views that checkpoints are built from."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, text
from sqlmodel import Field

from state import records
from state.tables.base import LedgerTable, big, key, long, one_of, when


class Facts(LedgerTable, table=True):
    __tablename__ = "facts"
    __table_args__ = (
        one_of("status", records.FactStatus),
        one_of("decision", records.Decision),
        Index("uq_facts_slot", "slot", "key", unique=True),
        Index(  # Eqn. 5: at most one object a slot
            "uq_facts_wanted",
            "slot",
            unique=True,
            sqlite_where=text("status = 'wanted'"),
            postgresql_where=text("status = 'wanted'"),
        ),
        Index(  # to be admitted again at that time, whatever their status
            "ix_facts_held",
            "held_until",
            sqlite_where=text("held_until IS NOT NULL"),
            postgresql_where=text("held_until IS NOT NULL"),
        ),
        Index("ix_facts_status", "status", "id"),
        Index("ix_facts_source", "source", "status", "id"),
        Index("ix_facts_reason_code", "reason_code", "id"),
        Index(
            "ix_facts_decision",
            "decision",
            "status",
            sqlite_where=text("decision IS NOT NULL"),
            postgresql_where=text("decision IS NOT NULL"),
        ),
        Index(  # found by the beginning of a label
            "ix_facts_subject_label",
            "subject_label",
            "id",
            postgresql_ops={"subject_label": "text_pattern_ops"},
        ),
    )
    id: int = key()
    key: str
    slot: int = big(foreign="slots.id")
    subject_label: str
    object: str = Field(index=True)
    target: str
    template: str
    prompt_key: str = Field(index=True)
    status: str
    reason: str = long()
    reason_code: str = Field(sa_column_kwargs={"server_default": ""})
    source: str
    revision: int = big()
    statement: str
    held_until: datetime | None = when(nullable=True)
    priority: int
    decision: str | None
    decided: datetime | None = when(nullable=True)
    created: datetime = when()
    updated: datetime = when()
    since: datetime = when(default="1970-01-01")


class Probes(LedgerTable, table=True):
    __tablename__ = "probes"
    __table_args__ = (CheckConstraint("kind IN ('neighbour', 'same_subject', 'alias')", name="kind"),)
    fact: int = key(foreign="facts.id")
    position: int = Field(primary_key=True)
    kind: str
    prompt: str = long()
    target: str = long()
    name: str | None = long(nullable=True)


class Views(LedgerTable, table=True):
    __tablename__ = "views"
    id: int = key()
    digest: str = Field(unique=True)
    size: int = big()
    created: datetime = when()


class ViewFacts(LedgerTable, table=True):
    __tablename__ = "view_facts"
    __table_args__ = (Index("ix_view_facts_fact", "fact", "view"), {"sqlite_with_rowid": False})
    view: int = key(foreign="views.id")
    fact: int = key(foreign="facts.id")


class BaseAnswers(LedgerTable, table=True):
    """What the base answers to a fact's prompt without any edit; `known` facts take no capacity."""

    __tablename__ = "base_answers"
    base: str = Field(primary_key=True)
    fact: int = key(foreign="facts.id")
    known: bool
    answer: str = long()
