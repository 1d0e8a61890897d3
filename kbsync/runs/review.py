"""Decisions of reviewers about candidates: approve one, and it goes live; reject it, and live is unchanged."""

from __future__ import annotations

from typing import Any

from kbsync.application import Application
from kbsync.approvals import About, Approvals, approvals, approve, check, of_candidate
from kbsync.errors import Changed, UsageError
from kbsync.leadership import Leadership
from kbsync.reasons import checked
from kbsync.runs.ending import end_run
from kbsync.runs.lifecycle import Lifecycle
from kbsync.runs.promotion import rollback_target
from state.ledger import Snapshot
from state.records import Checkpoint, Run

APPROVED = ("staged", "promoted", "deployed", "rolled_back")
"""States in which a run may be after its approval."""


def approve_run(
    app: Application,
    leadership: Leadership,
    run_id: int,
    reason: str,
    actor: str,
    *,
    again: bool = False,
    digest: str | None = None,
) -> Run:
    """Promote a candidate that waits for review; raises UsageError if it does not wait, or without a reason.

    `again`: a process that died may have recorded the approval already; the run then continues.  `digest`: of the
    candidate that the reviewer saw; raises Changed if the run has another one by now.
    """
    reason = checked(reason)
    with leadership.write() as tx:
        run = tx.run(run_id)
        if not (again and run.state in APPROVED):
            check_waits(run)
            check_candidate(tx, run, digest)
            about = of_candidate(run.id, candidate_of(tx, run.id)["digest"])
            check(tx, about, app.settings.review.approvals)
            run = tx.advance_run(run.id, "awaiting_review", "staged", actor=actor, reason=reason)
    executor = app.executor(alive=leadership.renew)
    with executor.worker(app.home.worker_log) as worker:
        return Lifecycle(app, leadership, worker).drive(run)


def reject_run(app: Application, run_id: int, reason: str, actor: str, *, digest: str | None = None) -> Run:
    """End a run that waits for review, its candidate rejected; raises UsageError and Changed like `approve_run`.

    One transaction, which does not need the leader: if the leader is working on the run, it finds it ended.
    """
    reason = checked(reason)
    with app.state.write() as tx:
        run = tx.run(run_id)
        check_waits(run)
        check_candidate(tx, run, digest)
        return end_run(tx, run, "rejected", reason, actor)


def give_approval(
    app: Application, run_id: int, reason: str, actor: str, digest: str | None = None
) -> Approvals:
    """One person's approval of a candidate that waits; once enough have given theirs, it may be promoted.

    Raises UsageError and Changed as `candidate_of`, and AlreadyApproved.
    """
    with app.state.write() as tx:
        about = of_candidate(run_id, candidate_of(tx, run_id, digest)["digest"])
        return approve(tx, about, app.settings.review.approvals, reason, actor)


def give_approval_of_rollback(app: Application, target: int | None, reason: str, actor: str) -> Approvals:
    """One operator's approval of a rollback; raises UsageError if there is nothing to go back to."""
    with app.state.write() as tx:
        about = of_rollback(*rollback_target(tx, target))
        return approve(tx, about, app.settings.review.approvals, reason, actor)


def begun_rollbacks(tx: Snapshot, live: Checkpoint, needed: int) -> list[str]:
    """Rollbacks of live that some people have approved and others have to, in words."""
    if needed == 1:
        return []
    retired = [one for one in tx.checkpoints(status="retired") if not one.collected]
    found = [(one, approvals(tx, of_rollback(live, one), needed)) for one in retired]
    return [f"The rollback to checkpoint {one.id} is {given}" for one, given in found if given.by]


def of_rollback(left: Checkpoint, to: Checkpoint) -> About:
    """One rollback: approvals of it do not count for a later one between the same checkpoints."""
    return About(f"rollback of promotion {left.promotion}, checkpoint {left.id}, to checkpoint {to.id}")


def check_waits(run: Run) -> None:
    """Raise UsageError unless the run waits for a reviewer."""
    if run.state != "awaiting_review":
        raise UsageError(f"run {run.id} does not wait for review: it is {run.state}", "see `kbsync review`")


def check_candidate(tx: Snapshot, run: Run, digest: str | None) -> None:
    """Raise Changed unless the run's candidate is the one with this digest; None: any."""
    assert run.checkpoint is not None, "a run that waits for review has a candidate"
    now = tx.checkpoint(run.checkpoint).digest
    if digest is not None and digest != now:
        raise Changed(
            f"the candidate of run {run.id} is {now[:12]} now, not {digest[:12]} as it was shown",
            "look at it again and decide again",
        )


def candidate_of(tx: Snapshot, run_id: int, digest: str | None = None) -> dict[str, Any]:
    """What a request to approve a run names: the run, and the digest of its candidate.

    Raises UsageError unless the run waits for review, and Changed as `check_candidate`.
    """
    run = tx.run(run_id)
    check_waits(run)
    check_candidate(tx, run, digest)
    assert run.checkpoint is not None
    return {"run": run.id, "digest": tx.checkpoint(run.checkpoint).digest}
