"""Runs, their rounds and attempts, and the verdicts of the gates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

RunState = Literal[
    "planned",
    "building",
    "built",
    "judged",
    "awaiting_review",
    "staged",
    "promoted",
    "deployed",
    "rejected",
    "failed",
    "rolled_back",
]
RoundOutcome = Literal["last", "left_out", "kept"]
"""What became of a fact after a round: the run ended with it, went on without the fact, or went on with it."""
AttemptOutcome = Literal[
    "running", "succeeded", "failed", "killed", "hung", "out_of_memory", "wrong_version", "lost"
]


@dataclass(frozen=True, slots=True)
class Run:
    id: int
    state: RunState
    view: str
    base: str
    trigger: str
    """Who or what asked for it."""
    round: int
    attempts: int
    checkpoint: int | None
    reason: str
    created: datetime
    updated: datetime
    review_until: datetime | None = None
    """While `awaiting_review`: when the timeout policy decides instead of a reviewer."""


@dataclass(frozen=True, slots=True)
class Round:
    """One build-and-judge pass of a run: after a failed gate the next round has a smaller view."""

    run: int
    round: int
    view: str
    started: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """One worker process on one round, and what became of it."""

    id: int
    run: int
    round: int
    worker: str
    """Which process: executor, host, pid, version."""
    outcome: AttemptOutcome
    evidence: str
    """Canonical JSON: exit status, last heartbeat, message, peak memory."""
    started: datetime
    ended: datetime | None


@dataclass(frozen=True, slots=True)
class GateResult:
    run: int
    round: int
    name: str
    value: float | None
    bound: float | None
    threshold: float
    n: int
    passed: bool
    """True needs a finite value: a gate that is not a number has failed."""
    detail: str
