"""Which checkpoint is live: decided in the database, projected onto the `live` link.

A transaction cannot fence a rename, so the link is only a projection: it follows the committed promotion, and is
repaired from the database at every start.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import structlog

from editing.crashpoints import crash_point
from editing.errors import EditingError
from editing.storage import checkpoints
from kbsync.application import Application
from kbsync.deployment.live import absent, withheld
from kbsync.errors import BadData, UsageError
from kbsync.home import Home
from kbsync.leadership import Leadership
from kbsync.reasons import checked
from kbsync.runs.ending import end_run
from kbsync.runs.integrity import ADVICE
from kbsync.runs.returning import apply, returning
from kbsync.signing.sealing import seal
from state import Snapshot, State, Transaction
from state.records import Checkpoint, Lease, Run

log = structlog.get_logger()


def complete(app: Application, leadership: Leadership, run: Run, *, actor: str) -> Run:
    """Complete the run's version with its bill of materials and signatures, then `promote` it.

    Raises what both raise (`kbsync.signing.sealing.seal`).
    """
    seal(app, leadership, run.checkpoint)
    hooks = tuple(app.settings.deploy)
    return promote(app.state, app.home, run, leadership.lease, hooks=hooks, actor=actor)


def promote(state: State, home: Home, run: Run, lease: Lease, *, hooks: Sequence[str], actor: str) -> Run:
    """Make the run's checkpoint live: verify its bytes, then commit under the lease's generation.

    `hooks` names the deploy hooks, for each of which the same transaction creates an outbox row.  The link
    follows the commit (`project`): after the commit, the checkpoint is live even if this process dies.

    Raises BadData if the checkpoint's files are not what was judged; `state.errors.StaleLeader`
    if another process leads.
    """
    assert run.checkpoint is not None
    with state.read() as tx:
        checkpoint = tx.checkpoint(run.checkpoint)
    verify(home, checkpoint)
    with state.write() as tx:
        tx.promote(checkpoint.id, lease, run=run.id, hooks=hooks, actor=actor)
        promoted = tx.advance_run(run.id, "staged", "promoted", actor=actor)
    crash_point("kbsync.promotion:after-commit")
    return promoted


def verify(home: Home, checkpoint: Checkpoint) -> None:
    """Raise BadData unless the directory's files have the digest that the gates judged."""
    digest = checkpoints.verify(home.checkpoint(checkpoint.path))
    if digest != checkpoint.digest:
        raise BadData(
            f"checkpoint {checkpoint.id} at {checkpoint.path} is not the one that was judged: "
            f"its digest is {digest[:12]}…, the report names {checkpoint.digest[:12]}…",
            "build it again with `kbsync sync`",
        )


def damage(home: Home, checkpoint: Checkpoint) -> str:
    """Why a kept checkpoint cannot be used, or nothing if it is intact."""
    try:
        verify(home, checkpoint)
    except (BadData, EditingError) as error:
        return str(error)
    return ""


def project(state: State, home: Home, *, sources_read: bool = False) -> Path | None:
    """Point `live` at the database's live checkpoint; returns what it points to.

    None if nothing is live, if its directory cannot be served (the next cycle builds it again), or if it is `withheld`
    after a restore, which depends on `sources_read`: the link is then left unchanged.  Raises BadData if the log and
    the table disagree.
    """
    with state.read() as tx:
        live = tx.live()
        doubt = tx.unlike_log(live) if live is not None else ""
        waits = withheld(tx, home, sources_read=sources_read)
    if live is None:
        return None
    if doubt:
        raise BadData(f"{home.live} was not switched: {doubt}", ADVICE["tables"])
    if reason := absent(home, live):
        log.error("live.absent", reason=reason)
        return None
    if waits:
        log.warning("live.withheld", reason=waits)
        return None
    if checkpoints.read_live(home.checkpoints) != live.path:
        checkpoints.switch_live(home.checkpoints, live.path)
        log.info("live.switched", checkpoint=live.id, path=live.path)
    return home.checkpoint(live.path)


def rollback(
    app: Application,
    leadership: Leadership,
    *,
    target: int | None,
    reason: str,
    actor: str,
    follow: bool = True,
) -> tuple[Checkpoint, Checkpoint]:
    """Roll back to a kept checkpoint (None: the one that was live before); returns (left, now live).

    The ledger follows (`returning`): what only the left checkpoint stated is quarantined, so that the next cycle
    does not bring it back, and what it had replaced is wanted again.  Without `follow`, the facts stay wanted: they
    are not the cause.  In either case the left view stays blocked until released.  An open run was planned from the
    checkpoint that is left, so it is rejected.

    A checkpoint that states what was withdrawn since does not go live: live is then unchanged, and the next run
    builds what is wanted now.

    Every configured deploy hook gets an outbox row.  Raises UsageError if there is no such checkpoint or the
    reason contains no word, and BadData if the checkpoint's files or the ledger are damaged.
    """
    reason = checked(reason)
    state, home = app.state, app.home
    with state.read() as tx:
        left, chosen = rollback_target(tx, target)
        doubt = tx.unlike_log(chosen)
    if doubt:
        raise BadData(f"nothing was rolled back: {doubt}", ADVICE["tables"])
    verify(home, chosen)
    seal(app, leadership, chosen.id)
    with state.write() as tx:
        what = returning(tx, left, chosen)
        stays = follow and bool(what.withdrawn)
        if not stays:
            hooks = tuple(app.settings.deploy)
            tx.promote(chosen.id, leadership.lease, hooks=hooks, reason=f"rollback: {reason}", actor=actor)
            tx.block_view(left.view, reason, actor)
        if follow:
            apply(tx, what, f"rolled back: {reason}", actor)
        if not stays and (run := _promoted_by(tx, left)):
            tx.advance_run(run.id, run.state, "rolled_back", actor=actor, reason=reason)
        if not stays or what.leaving or what.back:
            _end_open_runs(tx, f"rolled back meanwhile: {reason}", actor)
    crash_point("kbsync.promotion:after-rollback-commit")
    project(state, home)
    return left, left if stays else chosen


def rollback_target(tx: Snapshot, target: int | None) -> tuple[Checkpoint, Checkpoint]:
    """The live checkpoint, and the kept checkpoint to go back to (None: the one that was live before).

    Raises UsageError if there is no such checkpoint.
    """
    left = tx.live()
    if left is None:
        raise UsageError("there is no live checkpoint to roll back", "run `kbsync sync` first")
    return left, _target(tx, target)


def _promoted_by(tx: Snapshot, checkpoint: Checkpoint) -> Run | None:
    """The run that promoted it last: the one that built it, or a later one that judged it again."""
    runs = [*tx.runs(state="promoted"), *tx.runs(state="deployed")]
    return max((run for run in runs if run.checkpoint == checkpoint.id), key=lambda run: run.id, default=None)


def _end_open_runs(tx: Transaction, reason: str, actor: str) -> None:
    """End runs that were planned from the checkpoint that is left: their views may contain its facts."""
    for run in tx.open_runs():
        if run.state != "promoted":
            end_run(tx, run, "rejected", reason, actor)


def _target(tx: Snapshot, target: int | None) -> Checkpoint:
    kept = [c for c in tx.checkpoints(status="retired") if c.promoted is not None and c.collected is None]
    if target is None:
        previous = tx.previous()
        if previous is None:
            raise UsageError(
                "no earlier checkpoint is left to go back to",
                "see `kbsync checkpoints`; rolled-back ones are blocked",
            )
        return previous
    for checkpoint in kept:
        if checkpoint.id == target:
            return checkpoint
    raise UsageError(
        f"checkpoint {target} is not kept, or was never live",
        f"kept: {', '.join(str(c.id) for c in kept) or 'none'} (`kbsync checkpoints`)",
    )
