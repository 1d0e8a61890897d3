"""What the sources stated, and how reading them goes."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, Text, false
from sqlmodel import Field

from state.columns import Big
from state.tables.base import LedgerTable, big, key, long, when


class Entities(LedgerTable, table=True):
    __tablename__ = "entities"
    id: str = Field(primary_key=True)
    label: str | None
    aliases: str = long()
    living: bool | None


class Merges(LedgerTable, table=True):
    """Which entity another one was merged into, and the source that says so."""

    __tablename__ = "merges"
    old: str = Field(primary_key=True)
    new: str
    source: str


class Cursors(LedgerTable, table=True):
    __tablename__ = "cursors"
    source: str = Field(primary_key=True)
    cursor: str | None = Field(sa_type=Text)
    updated: datetime = when()


class Sources(LedgerTable, table=True):
    """How reading each source goes: last success, last error, next attempt."""

    __tablename__ = "sources"
    source: str = Field(primary_key=True)
    succeeded: datetime | None = when(nullable=True)
    failed: datetime | None = when(nullable=True)
    kind: str
    error: str = long()
    failures: int
    retry: datetime | None = when(nullable=True)
    reconciled: int | None = big(nullable=True)
    rejected: int = Field(sa_type=Big, sa_column_kwargs={"server_default": "0"})
    reject: str = Field(sa_type=Text, sa_column_kwargs={"server_default": ""})


class Observations(LedgerTable, table=True):
    """Every state of a slot at a source, ever: the history that admission judges.

    `repeats`: later revisions that are known to have said the same (`revision_spans.py`).
    """

    __tablename__ = "observations"
    id: int = key()
    source: str
    slot: int = big(foreign="slots.id", index=True)
    revision: int = big()
    modified: datetime | None = when(nullable=True)
    observed: datetime = when()
    statements: str = long()
    repeats: str = Field(sa_type=Text, sa_column_kwargs={"server_default": "[]"})


class Readings(LedgerTable, table=True):
    """Where each source stands with each slot: the newest revision read, and its observation.

    `gone`: the source no longer has the subject.  `lift`: what is added to the source's revision numbers
    since the subject was gone and came back.
    """

    __tablename__ = "readings"
    __table_args__ = (
        Index("uq_readings_slot", "slot", "source", unique=True),
        Index("ix_readings_source", "source", "id"),
    )
    id: int = key()
    source: str
    slot: int = big(foreign="slots.id")
    revision: int = big()
    observation: int = big(foreign="observations.id")
    gone: bool = Field(sa_column_kwargs={"server_default": false()})
    lift: int = Field(sa_type=Big, sa_column_kwargs={"server_default": "0"})


class Forgotten(LedgerTable, table=True):
    """Subjects that an operator had forgotten: recognised, but not named.

    `digests`: a JSON array of HMAC-SHA256 under `salt` of what the sources call them.
    """

    __tablename__ = "forgotten"
    number: int = key()
    salt: str
    digests: str = long()
    reason: str = long()
    actor: str
    since: datetime = when()
    released: datetime | None = when(nullable=True)
