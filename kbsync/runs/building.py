"""Building a run's candidate: asking the worker, and recording its report in the ledger.

The ledger gets the candidate with its recipe, and the facts that could not be built.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from editing.crashpoints import crash_point
from editing.durable import write_file
from editing.errors import SpecError
from editing.progress import TimedProgress
from editing.spec import BuildReport
from kbsync.application import Application
from kbsync.executor import Worker
from kbsync.home import RunDirectory
from kbsync.leadership import Leadership
from kbsync.recipe import recipe
from kbsync.runs.attempts import attempt
from kbsync.runs.ending import end_run
from kbsync.runs.packs import write_wanted
from kbsync.runs.progress_file import shown_to_others
from kbsync.runs.quarantining import CANNOT_BE_BUILT, quarantine, unbuildable
from kbsync.runs.specs import (
    build_spec,
    record_derived,
    record_left_out,
    round_spec,
    secret_questions,
)
from kbsync.settings.in_force import judged_under
from state import Transaction
from state.records import BaseAnswer, Run


def build(
    app: Application, leadership: Leadership, worker: Worker, run: Run, progress: TimedProgress
) -> BuildReport:
    """The worker's report on this round of the run; built now unless it was finished before a restart.

    Raises WorkerFailed, Stopping.
    """
    directory = app.home.round(run.id, run.round)
    if (finished := _finished(app, run, directory)) is not None:
        return finished
    directory.prepare()
    if run.checkpoint is None and app.settings.deliver.retrieval_pack:
        with app.state.read() as tx:
            view = {fact.id for fact in tx.view_facts(run.view)}
        write_wanted(app, view, directory.wanted)
    spec = build_spec(app, leadership, run)
    if spec.mode == "build":
        # A build that was killed before its report may have left an unfinished directory.
        shutil.rmtree(spec.out, ignore_errors=True)
        write_file(directory.recipe, _recipe(app, run).encode())
    if spec.secret_questions is not None:
        secret_questions(app, spec, run).write(directory.secret_questions)
    spec.write(directory.spec)
    crash_point("kbsync.lifecycle:spec-written")
    with shown_to_others(directory.progress, progress) as shown:
        return attempt(app, leadership, worker, run, directory.spec, shown)


def _recipe(app: Application, run: Run) -> str:
    """Everything besides facts that the run's candidate is built with, as JSON.

    It is the recipe of live if the run is built on live's base instead of the configured one.
    """
    with app.state.read() as tx:
        live = tx.live()
        if live is not None and run.base == live.base != app.base.digest:
            return live.recipe
        relations = [fact.relation for fact in tx.view_facts(run.view)]
    return json.dumps(recipe(app, relations), sort_keys=True, ensure_ascii=False)


def _finished(app: Application, run: Run, directory: RunDirectory) -> BuildReport | None:
    """The worker's report from before a restart; None if there is none, or if it has another version.

    A report counts only if it answers the spec of this run: if an older ledger was restored into the home,
    another run may have had the same number.
    """
    try:
        report = BuildReport.read(directory.report)
    except SpecError:
        return None
    spec, _ = round_spec(app, run)
    return report if report.spec_digest == spec.digest else None


def record_build(tx: Transaction, app: Application, run: Run, report: BuildReport, actor: str) -> Run:
    """The run, `built`: its candidate's view is without the facts that could not be built.

    Those facts are quarantined, each with its own reason.
    """
    settings = judged_under(app.settings, app.gates)
    tx.put_base_answers(run.base, {int(f.id): BaseAnswer(f.known, f.base_answer) for f in report.facts})
    record_left_out(tx, run, report.failures)
    record_derived(tx, run, report.facts)
    leaving = unbuildable(report.failures, run.base, settings, run)
    if not leaving:
        return _built(tx, app, run, report, (run.view, ""), actor)
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
    return _built(tx, app, run, report, (view, reason), actor)


def _built(
    tx: Transaction, app: Application, run: Run, report: BuildReport, now: tuple[str, str], actor: str
) -> Run:
    """The run with its candidate; `now`: the view that was built, and why it is not the planned one."""
    view, reason = now
    checkpoint = run.checkpoint
    if checkpoint is None:
        kept = app.home.round(run.id, run.round).recipe
        recipe = kept.read_text(encoding="utf-8") if kept.exists() else ""
        path = Path(report.checkpoint).name
        checkpoint = tx.create_checkpoint(
            run.id, view, run.base, path, report.checkpoint_digest, recipe=recipe
        ).id
    changed = view if view != run.view else None
    return tx.advance_run(
        run.id, "building", "built", actor=actor, reason=reason, checkpoint=checkpoint, view=changed
    )
