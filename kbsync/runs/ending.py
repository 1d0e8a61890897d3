"""Ending a run that will not be promoted, and delaying the next attempt at its view."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from state import Transaction
from state.records import Run, RunState

ENDS = frozenset({"deployed", "rejected", "failed", "rolled_back"})
"""States in which a run is finished."""

RETRY_AFTER = timedelta(hours=1)
"""Delay before a view whose last run failed is tried again; doubled with every failure."""


def end_run(tx: Transaction, run: Run, to: RunState, reason: str, actor: str) -> Run:
    """Move the run to a final state and mark its candidate rejected; live is unchanged."""
    discard_candidate(tx, run, reason, actor)
    return tx.advance_run(run.id, run.state, to, actor=actor, reason=reason)


def discard_candidate(tx: Transaction, run: Run, reason: str, actor: str) -> None:
    """Mark the run's candidate rejected, if it has one; garbage collection removes its directory.

    A kept checkpoint that the run only judged again was live before and keeps its status.
    """
    if run.checkpoint is not None and tx.checkpoint(run.checkpoint).status == "candidate":
        tx.reject(run.checkpoint, reason, actor)


def backing_off(now: datetime, earlier: Iterable[Run], *, asked: bool) -> str:
    """Why a view whose `earlier` runs failed is not tried again yet; an operator's request always is."""
    bad = [run for run in earlier if run.state in ("failed", "rejected")]
    if not bad or asked:
        return ""
    last = max(bad, key=lambda run: run.id)
    until = last.updated + RETRY_AFTER * 2 ** min(len(bad) - 1, 6)
    if now >= until:
        return ""
    return (
        f"run {last.id} of this view ended {last.state} ({last.reason}); next try after {until:%F %H:%M} UTC"
    )
