"""Starting a run: decide what to build, fetch its probes, and write the run into the ledger."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from editing.progress import TimedProgress, silent
from kbsync.application import Application
from kbsync.executor import Worker
from kbsync.leadership import Leadership
from kbsync.runs import bases, planning, probes
from kbsync.runs.ending import backing_off
from kbsync.runs.outdated import withdrawn_by_a_person
from kbsync.runs.quarantining import CANNOT_BE_BUILT, quarantine, unbuildable
from kbsync.runs.questions import base_knowledge, base_states
from kbsync.settings.base_model import calibration_doubt
from kbsync.settings.in_force import judged_under, verdicts_under
from state import Snapshot
from state.records import Checkpoint, Fact, Run

log = structlog.get_logger()

ACTOR = "kbsync"


@dataclass(frozen=True, slots=True)
class Pending:
    """The wanted facts, the live view, and what the base states unedited."""

    wanted: tuple[Fact, ...]
    """Those on which the plan depends (`state/plan_queries.py`)."""
    live: tuple[Fact, ...] | None
    known: dict[int, bool]
    another_base: bool
    """Live was built from a base that is not the configured one any more."""
    stated_by_lives_base: frozenset[int] = frozenset()
    """Ids of the facts of live that the base it was built from states unedited."""
    behind: int = 0
    """Further wanted facts that wait, whatever is planned."""
    restored: bool = False
    """The ledger was restored from a backup since live was promoted."""

    def plan(
        self, app: Application, *, asked: bool, rebuild: bool = False
    ) -> planning.Plan | planning.NothingToDo:
        """What to build now; `rebuild`: even if nothing has changed."""
        return planning.decide(
            self.wanted,
            self.live,
            self.known,
            app.settings.plan,
            app.now(),
            asked=asked,
            rebuilt=rebuild or self.another_base,
        )


def pending(
    app: Application, leadership: Leadership, worker: Worker, progress: TimedProgress = silent
) -> Pending:
    """What a run would be planned from, after asking the base about facts it was not asked about yet.

    A fact that cannot be asked cannot be built either: it is quarantined with its reason, and live's value in
    its slot is wanted again.
    """
    known: dict[int, bool] = {}
    while True:
        with app.state.read() as tx:
            live = tx.live()
            found_wanted = tx.wanted_to_plan(app.base.digest, live, app.settings.plan.capacity)
            wanted = found_wanted.facts
            live_facts = tx.view_facts(live.view) if live else None
            answers = tx.base_answers(app.base.digest, [fact.id for fact in live_facts or ()])
            unedited = tx.known_facts(live.base, [f.id for f in live_facts or ()]) if live else frozenset()
            restored = tx.restored_since_promotion()
            derived_from = _derived_from(tx, live, live_facts or ())
        known |= {fact: found.known for fact, found in answers.items()}
        found = base_knowledge(app, leadership, worker, wanted, progress)
        known |= found.known
        leaving = unbuildable(found.failures, app.base.digest, judged_under(app.settings, app.gates))
        if not leaving:
            another = live is not None and live.base != app.base.digest
            gone = derived_from - {fact.id for fact in wanted}
            known |= dict.fromkeys(gone, False)
            unedited -= gone
            return Pending(wanted, live_facts, known, another, unedited, found_wanted.behind, restored)
        with leadership.write() as tx:
            quarantine(tx, leaving, CANNOT_BE_BUILT, ACTOR)
        log.warning("facts.unbuildable", facts=[move.id for move in leaving])


def _derived_from(tx: Snapshot, live: Checkpoint | None, facts: Iterable[Fact]) -> frozenset[int]:
    """The facts of live from which statements that are edited into it may be derived, by id."""
    if live is None or not tx.has_derived(live.view, live.base):
        return frozenset()
    return frozenset(fact.id for fact in facts)


def fetch_probes(
    app: Application,
    leadership: Leadership,
    worker: Worker,
    facts: Iterable[Fact],
    known: Collection[int] = (),
    progress: TimedProgress = silent,
) -> None:
    """Fetch the probes of each new fact from the sources, once, and ask the base which of them are reliable.

    If a source is unavailable, its facts are judged only by the gates that need no probe; the source is queried
    again when they are built again.
    """
    gatherer = probes.Gatherer(
        app.state,
        app.sources,
        app.catalogue,
        app.settings.policy,
        leadership.write,
        states=lambda asked: base_states(app, worker, asked, progress),
    )
    for source, reason in gatherer.gather(facts, known, progress).items():
        log.warning("probes.unavailable", source=source, reason=reason)


@dataclass(frozen=True, slots=True)
class Started:
    run: Run
    partial: bool
    """It only removes facts; what needs a review still has to be planned."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why a run may be started now."""

    trigger: str
    """Who or what requested the run, as recorded in it."""
    asked: bool
    """An operator wants it now, whatever the thresholds of [plan] say."""
    in_review: bool = False
    """A candidate waits for a reviewer."""
    rebuild: bool = False
    """Build what is wanted again, even if nothing has changed."""
    overtaken: bool = False
    """A candidate was ended because something that it states was withdrawn while it waited or was built."""
    quiet_until: datetime | None = None
    """When the current quiet hours end, if the schedule wants this run: only what a person withdrew is removed now."""


def start(
    app: Application,
    leadership: Leadership,
    worker: Worker,
    occasion: Occasion,
    progress: TimedProgress = silent,
) -> Started | str:
    """A new run, or why there is none.

    What a person has withdrawn, or what was withdrawn while a candidate waited, does not wait for a reviewer: if the
    plan needs a review, or a candidate is in review, a run that only removes facts goes first.  It is built on the
    base that live was built from, since another base has to be approved.  In quiet hours, such a run is the only one.
    """
    quiet = quiet_hours(occasion.quiet_until)
    if quiet and not occasion.overtaken:
        with app.state.read() as tx:
            urgent = withdrawn_by_a_person(tx)
        if not urgent:
            return quiet
    found = pending(app, leadership, worker, progress)
    planned = found.plan(app, asked=occasion.asked, rebuild=occasion.rebuild)
    base, taken_out = app.base.digest, None
    if occasion.in_review or quiet or _waits_for_review(app, planned, found):
        taken_out = _withdrawal(app, found, occasion)
    if taken_out is not None:
        planned, base = taken_out
        occasion = replace(occasion, trigger=planning.WITHDRAWAL)
    elif occasion.in_review or quiet:
        return quiet or "a run waits for review"
    if isinstance(planned, planning.NothingToDo):
        return planned.reason
    fetch_probes(app, leadership, worker, planned.new, planned.known, progress)
    created = _create(app, leadership, planned, occasion, base, behind=found.behind)
    if found.live is None and (doubt := calibration_doubt(app.settings, app.imported_base(), app.home)):
        log.warning("settings.not_calibrated", reason=doubt)
    return created if isinstance(created, str) else Started(created, partial=taken_out is not None)


def quiet_hours(until: datetime | None) -> str:
    """Why no run begins or is promoted in quiet hours that end at `until`; empty if it is None."""
    return "" if until is None else f"quiet hours ([schedule] quiet) until {until:%Y-%m-%d %H:%M} UTC"


def _waits_for_review(
    app: Application, planned: planning.Plan | planning.NothingToDo, found: Pending
) -> bool:
    if isinstance(planned, planning.NothingToDo):
        return False
    stated = {fact.id for fact in found.live or ()}
    new = [fact for fact in planned.facts if fact.id not in stated]
    return planning.review_needed(app.settings.review, new)


def _withdrawal(app: Application, found: Pending, occasion: Occasion) -> tuple[planning.Plan, str] | None:
    """The plan that removes withdrawn facts from live without a review, and the digest of the base to build it on.

    None if nothing was withdrawn, if a source withdrew it (that is approved with the candidate that leaves it out),
    or if live's base cannot be built on any more (that is approved with the other base).
    """
    planned = planning.withdrawal(
        found.wanted, found.live, found.stated_by_lives_base, restored=found.restored
    )
    if planned is None or not (occasion.overtaken or any(fact.decision for fact in planned.removed)):
        return None
    if not found.another_base:
        return planned, app.base.digest
    with app.state.read() as tx:
        base = bases.of_live(app, tx.live())
    return None if base is None else (planned, base.digest)


def _create(
    app: Application,
    leadership: Leadership,
    planned: planning.Plan,
    occasion: Occasion,
    base: str,
    *,
    behind: int,
) -> Run | str:
    """The run of a plan on a base (its digest), written into the ledger; or why this view is not built now.

    `behind`: wanted facts that wait besides those of the plan.
    """
    with leadership.write() as tx:
        view = tx.create_view(planned.facts)
        live = tx.live()
        same = live is not None and (live.view, live.base) == (view.digest, base)
        if same and not occasion.rebuild:
            return "live already is this view"
        blocked = next((block for block in tx.blocked_views() if block.view == view.digest), None)
        if blocked is not None:
            return (
                f"this view was rolled back ({blocked.reason}); `kbsync checkpoints release` allows it again"
            )
        earlier = [r for r in tx.runs(limit=20) if (r.view, r.base) == (view.digest, base)]
        verdicts = verdicts_under(app.settings, app.gates, app.asked_of_all)
        if not occasion.rebuild and (why := _rejected_before(tx, earlier, verdicts)):
            return why
        if wait := backing_off(app.now(), earlier, asked=occasion.asked):
            return wait
        run = tx.create_run(view.digest, base, occasion.trigger, above=app.home.highest_run())
        tx.emit(
            "run.scope",
            ACTOR,
            {
                "view": view.digest,
                "settings": verdicts,
                "facts": len(planned.facts),
                "known": len(planned.known),
                "new": [fact.id for fact in planned.new],
                "removed": [fact.id for fact in planned.removed],
                "waiting": len(planned.waiting) + behind,
            },
            run=run.id,
        )
    return run


def _rejected_before(tx: Snapshot, earlier: list[Run], verdicts: str) -> str:
    """Why a view is not built if its gates rejected it under the current settings."""
    rejected = [run for run in earlier if run.state == "rejected"]
    if not rejected:
        return ""
    last = max(rejected, key=lambda run: run.id)
    failed = [gate for gate in tx.gate_results(last.id) if gate.round == last.round and not gate.passed]
    scope = next(iter(tx.events(run=last.id, kind="run.scope")), None)
    if not failed or scope is None or json.loads(scope.body).get("settings") != verdicts:
        return ""
    return (
        f"run {last.id} built this very view, and its gates rejected it under the same settings ({last.reason}); "
        "change the facts or the settings, or build it all the same with `kbsync rebuild`"
    )
