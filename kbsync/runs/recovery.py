"""Rebuilding a lost live checkpoint: its directory is missing, is another one's, or has damaged bytes.

The ledger has the view of live, and the cache has its residuals: the view is built again, judged, and promoted in
place of what was lost.  What is no longer wanted is left out, so a recovery restores no withdrawn fact.
"""

from __future__ import annotations

import structlog

from kbsync.application import Application
from kbsync.leadership import ACTOR, Leadership
from kbsync.runs.ending import backing_off
from state.records import Run

log = structlog.get_logger()

TRIGGER = "live is lost"
"""Beginning of the trigger of a run that builds live again."""


def rebuild(app: Application, leadership: Leadership, reason: str, *, asked: bool) -> Run | None:
    """A run that rebuilds live, as far as its facts are still wanted.

    If such a run already exists, it is continued instead.  None if none of the facts is wanted, or if the last
    attempt failed a short while ago and no operator `asked`.
    """
    with leadership.write() as tx:
        live = tx.live()
        assert live is not None
        going_on = [run for run in tx.open_runs() if run.trigger.startswith(TRIGGER)]
        if going_on:
            return going_on[0]
        facts = [fact for fact in tx.view_facts(live.view) if fact.status == "wanted"]
        if not facts:
            return None
        view = tx.create_view(facts, ACTOR)
        earlier = [run for run in tx.runs(limit=20) if run.view == view.digest]
        if wait := backing_off(app.now(), earlier, asked=asked):
            log.warning("live.waits", reason=wait)
            return None
        log.warning("live.rebuilt", checkpoint=live.id, reason=reason, facts=len(facts))
        above = app.home.highest_run()
        return tx.create_run(view.digest, app.base.digest, f"{TRIGGER}: {reason}", ACTOR, above=above)
