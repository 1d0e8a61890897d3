"""Rebuilding a lost live checkpoint: its directory is gone, is another one's, or has damaged bytes.

The ledger says what live states, and the cache has its residuals: the view is built again, judged, and promoted
in place of what was lost.  What is not wanted any more is left out: a recovery brings nothing back.
"""

from __future__ import annotations

import structlog

from kbsync.application import Application
from kbsync.leadership import ACTOR, Leadership
from kbsync.runs.ending import backing_off
from state.records import Run

log = structlog.get_logger()

TRIGGER = "live is lost"
"""How the trigger of a run that builds live again begins."""


def rebuild(app: Application, leadership: Leadership, reason: str, *, asked: bool) -> Run | None:
    """A run that builds what live states, as far as it is still wanted.

    The run that already does so is carried on instead.  None where nothing of it is wanted, or where the last
    try ended badly a short while ago and nobody `asked`.
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
