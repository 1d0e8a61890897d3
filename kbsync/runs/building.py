"""What a finished build leaves in the ledger: its candidate, and the facts that could not be built."""

from __future__ import annotations

from pathlib import Path

from editing.spec import BuildReport
from kbsync.runs.ending import end_run
from kbsync.runs.quarantining import CANNOT_BE_BUILT, quarantine, unbuildable
from kbsync.runs.specs import record_left_out
from state import Transaction
from state.records import Run


def record_build(tx: Transaction, run: Run, report: BuildReport, settings: str, actor: str) -> Run:
    """The run, `built`: its candidate is of the view without the facts that could not be built.

    Those are quarantined, each with its own reason; `settings` is the digest of what they were tried under.
    """
    tx.put_base_answers(run.base, {int(f.id): (f.known, f.base_answer) for f in report.facts})
    record_left_out(tx, run, report.failures)
    leaving = unbuildable(report.failures, run.base, settings, run)
    if not leaving:
        return _built(tx, run, report, run.view, "", actor)
    back = quarantine(tx, leaving, CANNOT_BE_BUILT, actor)
    bad = {move.id for move in leaving}
    rest = [fact for fact in tx.view_facts(run.view) if fact.id not in bad]
    reason = f"{len(bad)} facts cannot be built and are in quarantine"
    if not rest and not back:
        return end_run(tx, run, "rejected", f"{reason}; nothing is left to build", actor)
    view = tx.create_view([*rest, *back]).digest
    live = tx.live()
    if live is not None and (live.view, live.base) == (view, run.base):
        return end_run(tx, run, "rejected", f"{reason}; live has all the rest", actor)
    if back or run.checkpoint is not None:
        # Live's own value comes back in the place of one, or a kept checkpoint was judged: what was measured
        # is of no view that is wanted, and the next round builds the one that is.
        tx.advance_run(run.id, "building", "built", actor=actor, reason=reason)
        return tx.advance_run(run.id, "built", "building", actor=actor, reason=reason, view=view)
    return _built(tx, run, report, view, reason, actor)


def _built(tx: Transaction, run: Run, report: BuildReport, view: str, reason: str, actor: str) -> Run:
    checkpoint = run.checkpoint
    if checkpoint is None:
        path = Path(report.checkpoint).name
        checkpoint = tx.create_checkpoint(run.id, view, run.base, path, report.checkpoint_digest).id
    changed = view if view != run.view else None
    return tx.advance_run(
        run.id, "building", "built", actor=actor, reason=reason, checkpoint=checkpoint, view=changed
    )
