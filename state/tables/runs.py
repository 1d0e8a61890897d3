"""What is built: runs, their rounds and attempts, and the verdicts of the gates."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint
from sqlmodel import Field

from state import records
from state.tables.base import LedgerTable, big, key, long, one_of, when


class Runs(LedgerTable, table=True):
    __tablename__ = "runs"
    __table_args__ = (one_of("state", records.RunState),)
    id: int = key()
    state: str = Field(index=True)
    view: str = Field(foreign_key="views.digest", index=True)
    base: str
    trigger: str = long()
    round: int
    attempts: int
    checkpoint: int | None = big(nullable=True)
    reason: str = long()
    created: datetime = when()
    updated: datetime = when()
    review_until: datetime | None = when(nullable=True)


class Rounds(LedgerTable, table=True):
    __tablename__ = "rounds"
    run: int = key(foreign="runs.id")
    round: int = Field(primary_key=True)
    view: str = Field(foreign_key="views.digest", index=True)
    started: datetime = when()


class Attempts(LedgerTable, table=True):
    __tablename__ = "attempts"
    __table_args__ = (one_of("outcome", records.AttemptOutcome),)
    id: int = key()
    run: int = big(foreign="runs.id", index=True)
    round: int
    worker: str = long()
    outcome: str
    evidence: str = long()
    started: datetime = when()
    ended: datetime | None = when(nullable=True)


class GateResults(LedgerTable, table=True):
    __tablename__ = "gate_results"
    __table_args__ = (CheckConstraint("NOT passed OR value IS NOT NULL", name="number"),)
    run: int = key(foreign="runs.id")
    round: int = Field(primary_key=True)
    name: str = Field(primary_key=True)
    value: float | None
    bound: float | None
    threshold: float
    n: int
    passed: bool
    detail: str = long()
