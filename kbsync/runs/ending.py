"""Ending a run that will not be promoted."""

from __future__ import annotations

from state import Transaction
from state.records import Run, RunState

ENDS = frozenset({"deployed", "rejected", "failed", "rolled_back"})
"""States in which nothing is left to do for a run."""


def end_run(tx: Transaction, run: Run, to: RunState, reason: str, actor: str) -> Run:
    """Move the run to an end and mark its candidate rejected; live stays as it is."""
    discard_candidate(tx, run, reason, actor)
    return tx.advance_run(run.id, run.state, to, actor=actor, reason=reason)


def discard_candidate(tx: Transaction, run: Run, reason: str, actor: str) -> None:
    """Mark the run's candidate rejected, if it has one; its directory goes with the next garbage collection.

    A kept checkpoint that the run only judged again was live before and stays what it is.
    """
    if run.checkpoint is not None and tx.checkpoint(run.checkpoint).status == "candidate":
        tx.reject(run.checkpoint, reason, actor)
