"""This ledger itself, who may act on it, and what is asked of whoever does."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Index
from sqlmodel import Field

from state import records
from state.tables.base import LedgerTable, big, key, long, one_of, when


class Ledger(LedgerTable, table=True):
    """The one row about this ledger itself."""

    __tablename__ = "ledger"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)
    id: int = key()
    instance: str
    created: datetime = when()


class Checks(LedgerTable, table=True):
    """The last result of each thing that is proven on a schedule: the log, the tables, the bytes."""

    __tablename__ = "checks"
    name: str = Field(primary_key=True)
    ok: bool
    detail: str = long()
    since: datetime = when()
    at: datetime = when()


class Leases(LedgerTable, table=True):
    __tablename__ = "leases"
    name: str = Field(primary_key=True)
    holder: str
    generation: int = big()
    expires: datetime = when()


class Requests(LedgerTable, table=True):
    """What operators ask of whoever leads, and the answers."""

    __tablename__ = "requests"
    __table_args__ = (
        one_of("state", records.RequestState),
        Index("ix_requests_state", "state", "id"),
    )
    id: int = key()
    action: str
    arguments: str = long()
    reason: str = long()
    actor: str
    state: str
    attempts: int
    answer: str = long()
    created: datetime = when()
    updated: datetime = when()
    asked_by: str = Field(sa_column_kwargs={"server_default": ""})


class Tokens(LedgerTable, table=True):
    """Who may use the pages: digests of secrets, with names and roles."""

    __tablename__ = "tokens"
    __table_args__ = (one_of("role", records.Role), Index("ix_tokens_digest", "digest", unique=True))
    name: str = Field(primary_key=True)
    role: str
    digest: str
    created_by: str
    created: datetime = when()
    expires: datetime = when()
    revoked: datetime | None = when(nullable=True)


class Pauses(LedgerTable, table=True):
    """At most one row: present while an operator has paused the daemon."""

    __tablename__ = "pauses"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)
    id: int = key()
    reason: str = long()
    actor: str
    since: datetime = when()
