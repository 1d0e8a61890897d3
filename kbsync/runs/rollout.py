"""The last step of a run: `promoted` until its servers serve it, and what happens if they cannot.

deployed      the link and every hook name the promoted version, and the canary facts are answered
failed        a hook failed for good and keeps the promotion (`on_failure = "keep"`), or there is no
              checkpoint to go back to: live stays, the server is notified again, at most hourly
rolled_back   a hook failed for good and asks to go back (`on_failure = "rollback"`); or another
              checkpoint went live before all servers had this one
"""

from __future__ import annotations

from editing.errors import EditingError
from kbsync.application import Application
from kbsync.deployment.link import observe_link
from kbsync.deployment.outbox import ACTOR, Outbox, Outstanding
from kbsync.errors import BadData, UsageError
from kbsync.leadership import Leadership
from kbsync.runs import promotion
from state.errors import named
from state.records import Run, RunState


def finish(app: Application, leadership: Leadership, run: Run, *, asked: bool = False) -> Run:
    """The run in a final state; or still `promoted`, if a server is to be notified again later."""
    promotion.project(app.state, app.home)
    with app.state.read() as tx:
        live = tx.live()
    if live is None or live.id != run.checkpoint:
        now = "nothing" if live is None else f"checkpoint {live.id}"
        return _end(leadership, run, "rolled_back", f"{now} went live before every server had this one")
    observe_link(app.home, live)
    left = Outbox(app, leadership).work(asked=asked, bounded=True)
    reason = _reason(left)
    if any(app.settings.deploy[row.hook].on_failure == "rollback" for row in left.dead):
        return _go_back(app, leadership, run, reason)
    if left.waiting:
        return run
    if left.dead:
        return _end(leadership, run, "failed", reason)
    return _end(leadership, run, "deployed", "")


def _go_back(app: Application, leadership: Leadership, run: Run, reason: str) -> Run:
    """Make the previous checkpoint live again and notify every hook; the facts stay wanted.

    If that checkpoint states what was withdrawn since, live is unchanged, and the run has failed.
    """
    with app.state.read() as tx:
        before = tx.previous()
        withdrawn = tx.withdrawn(before.view, before.base) if before else ()
    if withdrawn:
        why = f"the checkpoint before states what is not wanted any more: {named(withdrawn)}"
        return _end(leadership, run, "failed", f"{reason}; cannot go back: {why}")
    try:
        promotion.rollback(app, leadership, target=None, reason=reason, actor=ACTOR, follow=False)
    except (UsageError, BadData, EditingError) as error:
        return _end(leadership, run, "failed", f"{reason}; cannot go back: {error}")
    Outbox(app, leadership).work()
    with app.state.read() as tx:
        return tx.run(run.id)


def _reason(left: Outstanding) -> str:
    return "; ".join(
        f"deploy hook {row.hook} failed after {row.attempts} attempts: {row.detail}" for row in left.dead
    )


def _end(leadership: Leadership, run: Run, state: RunState, reason: str) -> Run:
    with leadership.write() as tx:
        return tx.advance_run(run.id, run.state, state, actor=ACTOR, reason=reason)
