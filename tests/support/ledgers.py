"""Building blocks of the ledger's tests: a clock, observations, facts, and a run up to any state."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from state import Transaction
from state.records import (
    Checkpoint,
    Fact,
    FactStatus,
    GateResult,
    NewFact,
    Run,
    RunState,
    StoredObservation,
)

START = datetime(2024, 1, 1, tzinfo=UTC)
BASE = "b" * 64
WAY: tuple[RunState, ...] = ("planned", "building", "built", "judged", "staged", "promoted", "deployed")
"""A run's straight way to its good end."""


class Clock:
    """Injected time that moves on by a second whenever it is read, as a real one does."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


def said(
    subject: str = "wd:Q38",
    statements: str = '["wd:Q1"]',
    revision: int = 1,
    source: str = "wikidata",
    relation: str = "wdt:P6",
    observed: datetime = START,
) -> StoredObservation:
    return StoredObservation(source, subject, relation, revision, observed, observed, statements)


def fact(
    subject: str = "wd:Q38",
    object: str = "wd:Q1",
    status: FactStatus = "wanted",
    *,
    relation: str = "wdt:P6",
    reason: str = "settled",
    revision: int = 1,
    held_until: datetime | None = None,
) -> NewFact:
    template = "The head of government of {} is"
    key = hashlib.sha256(f"{template} {subject}".encode()).hexdigest()
    return NewFact(
        subject,
        f"Label of {subject}",
        relation,
        object,
        f"Label of {object}",
        template,
        key,
        status,
        reason,
        "wikidata",
        revision,
        f"{subject}-statement",
        held_until,
    )


def gate(
    run: int, name: str = "efficacy", value: float | None = 1.0, *, passed: bool = True, round: int = 1
) -> GateResult:
    return GateResult(run, round, name, value, value, 0.9, 10, passed, "")


def planned(tx: Transaction, facts: Sequence[Fact] | None = None, base: str = BASE) -> Run:
    """A run of what is wanted now (or of the given facts)."""
    view = tx.create_view(tx.wanted() if facts is None else facts)
    return tx.create_run(view.digest, base, "test")


def carried(tx: Transaction, run: Run, to: RunState) -> Run:
    """The run moved along its straight way, with a candidate when built and passed gates when judged."""
    while run.state != to:
        step = WAY[WAY.index(run.state) + 1]
        if step == "built":
            path = f"run-{run.id}-{run.round}"
            made = tx.create_checkpoint(run.id, run.view, run.base, path, f"digest of {path}")
            run = tx.advance_run(run.id, run.state, step, actor="test", checkpoint=made.id)
            continue
        if step == "judged":
            tx.put_gate_results(run.id, [gate(run.id, round=run.round)])
        run = tx.advance_run(run.id, run.state, step, actor="test")
    return run


def staged(tx: Transaction, subject: str, object: str = "wd:Q1") -> Checkpoint:
    """A candidate of one more wanted fact that passed its gates."""
    tx.put_facts([fact(subject, object)], "test")
    run = carried(tx, planned(tx), "staged")
    assert run.checkpoint is not None
    return tx.checkpoint(run.checkpoint)
