"""What happened: the audit log."""

from __future__ import annotations

from sqlalchemy import Index, Text, text
from sqlmodel import Field

from state.event_kinds import EventKind
from state.tables.base import LedgerTable, big, key, long

FREQUENT: tuple[EventKind, ...] = (
    "fact.held",
    "fact.quarantined",
    "fact.retracted",
    "fact.superseded",
    "fact.wanted",
    "observations.recorded",
    "rows.written",
)
"""Kinds of which a ledger has about as many events as there are changes: they are found by walking the log."""
RARE = f"kind NOT IN ({', '.join(repr(kind) for kind in FREQUENT)})"
"""The condition of the index on kinds, which a query has to repeat; the index is small, and chosen for nothing else."""


class Events(LedgerTable, table=True):
    """Append-only, held by triggers; `at`, `body` and `rows` are the very text that the hash covers.

    `rows`: the seals of the rows written since the event before (`seals.py`); null where there are none.
    `salt`: 128 random bits, covered by the hash and erased with the words, so that a guess cannot be confirmed.
    `seal_salt`: the same for `rows`; not covered by the hash and in no export, so that it can be erased alone.
    """

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_run", "run", "seq"),
        Index("ix_events_fact", "fact", "seq"),
        Index(  # looked up at every start of a leader
            "ix_events_settings",
            "kind",
            "seq",
            sqlite_where=text("kind = 'settings.changed'"),
            postgresql_where=text("kind = 'settings.changed'"),
        ),
        Index(  # asked before anything is served
            "ix_events_promoted",
            "kind",
            "seq",
            sqlite_where=text("kind = 'checkpoint.promoted'"),
            postgresql_where=text("kind = 'checkpoint.promoted'"),
        ),
        Index("ix_events_kind", "kind", "seq", sqlite_where=text(RARE), postgresql_where=text(RARE)),
        Index("ix_events_at", "at", "seq"),
    )
    seq: int = key()
    at: str
    kind: str
    actor: str
    run: int | None = big(nullable=True)
    fact: int | None = big(nullable=True)
    body: str = long()
    previous: str
    hash: str
    rows: str | None = Field(sa_type=Text, nullable=True)
    salt: str | None = Field(nullable=True)
    seal_salt: str | None = Field(nullable=True)


class Subtrees(LedgerTable, table=True):
    """The Merkle tree over the events: roots of full subtrees of 256 to the power of `height` events (`tree.py`)."""

    __tablename__ = "subtrees"
    height: int = key()
    number: int = key()
    hash: str
