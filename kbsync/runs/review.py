"""Decisions of reviewers about candidates: approve one, and it goes live; reject it, and live is unchanged."""

from __future__ import annotations

from kbsync.application import Application
from kbsync.errors import UsageError
from kbsync.leadership import Leadership
from kbsync.reasons import checked
from kbsync.runs.ending import end_run
from kbsync.runs.lifecycle import Lifecycle
from state.records import Run

APPROVED = ("staged", "promoted", "deployed", "rolled_back")
"""States in which a run may be after its approval."""


def approve_run(
    app: Application, leadership: Leadership, run_id: int, reason: str, actor: str, *, again: bool = False
) -> Run:
    """Promote a candidate that waits for review; raises UsageError if it does not wait, or without a reason.

    `again`: a process that died may have recorded the approval already; the run then continues.
    """
    reason = checked(reason)
    with leadership.write() as tx:
        run = tx.run(run_id)
        if not (again and run.state in APPROVED):
            check_waits(run)
            run = tx.advance_run(run.id, "awaiting_review", "staged", actor=actor, reason=reason)
    executor = app.executor(alive=leadership.renew)
    with executor.worker(app.home.worker_log) as worker:
        return Lifecycle(app, leadership, worker).drive(run)


def reject_run(app: Application, run_id: int, reason: str, actor: str) -> Run:
    """End a run that waits for review, its candidate rejected; raises UsageError like `approve_run`.

    One transaction, which does not need the leader: if the leader is working on the run, it finds it ended.
    """
    reason = checked(reason)
    with app.state.write() as tx:
        run = tx.run(run_id)
        check_waits(run)
        return end_run(tx, run, "rejected", reason, actor)


def check_waits(run: Run) -> None:
    """Raise UsageError unless the run waits for a reviewer."""
    if run.state != "awaiting_review":
        raise UsageError(f"run {run.id} does not wait for review: it is {run.state}", "see `kbsync review`")
