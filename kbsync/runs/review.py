"""What reviewers decide about candidates: approve one, and it goes live; reject it, and live stays."""

from __future__ import annotations

from kbsync.application import Application
from kbsync.errors import UsageError
from kbsync.leadership import Leadership
from kbsync.runs.ending import end_run
from kbsync.runs.lifecycle import Lifecycle
from state.records import Run


def approve_run(app: Application, leadership: Leadership, run_id: int, reason: str, actor: str) -> Run:
    """Promote a candidate that waits for review; raises UsageError if it does not wait."""
    run = _waiting(app, run_id)
    with app.state.write() as tx:
        staged = tx.advance_run(run.id, "awaiting_review", "staged", actor=actor, reason=reason)
    executor = app.executor(alive=leadership.renew)
    with executor.worker(app.home.worker_log) as worker:
        return Lifecycle(app, leadership, worker).drive(staged)


def reject_run(app: Application, run_id: int, reason: str, actor: str) -> Run:
    """End a run that waits for review, its candidate rejected; raises UsageError if it does not wait."""
    run = _waiting(app, run_id)
    with app.state.write() as tx:
        return end_run(tx, run, "rejected", reason, actor)


def _waiting(app: Application, run_id: int) -> Run:
    with app.state.read() as tx:
        run = tx.run(run_id)
    if run.state != "awaiting_review":
        raise UsageError(f"run {run_id} does not wait for review: it is {run.state}", "see `kbsync review`")
    return run
