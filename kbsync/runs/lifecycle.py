"""The life of a run, one durable step at a time.

    planned → building → built → judged → (awaiting_review) → staged → promoted → deployed
                 ↑                  │
                 └── next round ────┘        ends: deployed, rejected, failed, rolled_back

Each step does its work, then moves the run with a compare-and-set in the transaction that records
what the step found.  After a process is killed between any two instructions, the run is in some state;
`drive` continues from there, and every step is idempotent.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog

from editing.crashpoints import crash_point
from editing.errors import EditingError
from editing.progress import TimedProgress, silent
from editing.spec import BuildReport
from kbsync import gates, telemetry
from kbsync.application import Application
from kbsync.errors import BadData
from kbsync.executor import Worker, WorkerFailed
from kbsync.home import RunDirectory
from kbsync.leadership import Leadership
from kbsync.recipe import recipe, same
from kbsync.runs import bases, integrity, outdated, packs, promotion, recovery
from kbsync.runs.building import build, record_build
from kbsync.runs.ending import ENDS, discard_candidate, end_run
from kbsync.runs.evidence import bars
from kbsync.runs.judging import basis_of, declarations
from kbsync.runs.next_round import condemned, spread_loss
from kbsync.runs.planning import WITHDRAWAL, review_needed
from kbsync.runs.quarantining import predecessors, quarantine
from kbsync.runs.rollout import finish
from kbsync.runs.verdicts import counted_report, judged
from kbsync.settings.in_force import judged_under
from state import Snapshot, Transaction
from state.errors import (
    ForbiddenTransition,
    GatesNotPassed,
    NoLongerWanted,
    StaleTransition,
    ViewBlocked,
    named,
)
from state.records import Fact, GateResult, Run, RunState

log = structlog.get_logger()

ACTOR = "kbsync"
UNWANTED = "not wanted any more"
_RESTORED = "its successor failed a gate"
TERMINAL_ERRORS = (BadData, EditingError, OSError, GatesNotPassed, ForbiddenTransition)
"""What ends a run as `failed`: its files are damaged, missing or cannot be written, or its checkpoint may
not go live.  Retrying the same step would give the same result; the next run starts from the cache."""


class Lifecycle:
    """Drives runs from any state to a final one, or to one in which they wait for a reviewer or a server.

    `asked`: an operator wants them to continue now, so a server that failed is notified again at once.
    """

    def __init__(
        self,
        app: Application,
        leadership: Leadership,
        worker: Worker,
        progress: TimedProgress = silent,
        *,
        asked: bool = False,
        scheduled: bool = False,
    ) -> None:
        """`scheduled`: nobody asked for it now, so that nothing is promoted in quiet hours."""
        self.app = app
        self.leadership = leadership
        self.worker = worker
        self.progress = progress
        self.asked = asked
        self.scheduled = scheduled
        self.outdated = 0
        """Runs that ended because their views state what is no longer wanted: plan again at once."""
        self._steps: dict[str, Callable[[Run], Run]] = {
            "planned": self._start,
            "building": self._build,
            "built": self._judge,
            "judged": self._decide,
            "awaiting_review": self._review,
            "staged": self._promote,
            "promoted": self._deploy,
        }

    def drive(self, run: Run) -> Run:
        """The run in a final state, or waiting for review or for a server.  Raises Stopping, with the run resumable."""
        with structlog.contextvars.bound_contextvars(run_id=run.id):
            while run.state not in ENDS:
                before = (run.state, run.round)
                run = self._step(run)
                crash_point(f"kbsync.lifecycle:after-{before[0]}")
                if (run.state, run.round) == before:
                    break
                log.info("run", state=run.state, round=run.round, reason=run.reason or None)
        return run

    def _step(self, run: Run) -> Run:
        step = self._steps[run.state]
        try:
            with telemetry.span(step.__name__.strip("_"), run=run.id, round=run.round):
                return step(run)
        except ViewBlocked as error:
            return self._reject(run, str(error))
        except NoLongerWanted as error:
            return self._end_outdated(run, f"{UNWANTED}: {named(error.facts)}")
        except StaleTransition:
            # Another process changed its state: an operator's rollback or rejection may end a run at any time.
            with self.app.state.read() as tx:
                now = tx.run(run.id)
            if (now.state, now.round) == (run.state, run.round):
                raise
            return now
        except TERMINAL_ERRORS as error:
            if run.state == "promoted":
                raise  # it is live in the ledger: only what follows it is behind, and is tried again
            return self._fail(run, str(error))

    # Steps, in the order of a run's life

    def _start(self, run: Run) -> Run:
        """Build; or, if a complete checkpoint of this view was kept, judge that one again."""
        if gone := bases.why_gone(self.app, run):
            return self._end_outdated(run, gone)
        with self.app.state.read() as tx:
            facts = tx.view_facts(run.view)
            now = recipe(self.app, (fact.relation for fact in facts))
            kept = tx.kept(run.view, run.base, lambda before: same(before, now))
        whole = kept is not None and not promotion.damage(self.app.home, kept)
        if kept is not None and whole and packs.is_current(self.app, kept, {fact.id for fact in facts}):
            return self._advance(run, "building", checkpoint=kept.id)
        return self._advance(run, "building")

    def _build(self, run: Run) -> Run:
        if gone := bases.why_gone(self.app, run):
            return self._end_outdated(run, gone)
        try:
            report = build(self.app, self.leadership, self.worker, run, self.progress)
        except WorkerFailed as failure:
            return self._fail(run, f"{failure.kind}: {failure}")
        with self.leadership.write() as tx:
            return record_build(tx, self.app, run, report, ACTOR)

    def _judge(self, run: Run) -> Run:
        directory = self._directory(run)
        verdicts, measures = judged(self.app, self.leadership, run, self._measured(run), directory)
        results = [
            GateResult(run.id, run.round, v.name, v.value, v.bound, v.threshold, v.n, v.passed, v.detail)
            for v in verdicts
        ]
        basis = basis_of(self.app, directory)
        declared = declarations(self.app.gates, measures)
        with self.leadership.write() as tx:
            tx.put_gate_results(run.id, results, basis=basis, declared=declared)
            return tx.advance_run(run.id, "built", "judged", actor=ACTOR)

    def _decide(self, run: Run) -> Run:
        report, verdicts = self.report(run), self._verdicts(run)
        failed = [v for v in verdicts if not v.passed]
        if not failed:
            if unwanted := outdated.newly_unwanted(self.app, run):
                return self._end_outdated(run, f"{UNWANTED}: {named(unwanted)}")
            if self._needs_review(run):
                until = self.app.now() + self.app.settings.review.timeout
                with self.leadership.write() as tx:
                    return tx.await_review(run.id, until, actor=ACTOR)
            return self._advance(run, "staged")
        with self.app.state.read() as tx:
            new = {str(fact.id) for fact in self._new_facts(tx, run)}
            judged = {result.round for result in tx.gate_results(run.id)}
        left = self.app.settings.plan.rounds - len(judged)
        blamed = gates.blame(report, verdicts, new)
        hopeless = gates.systematic(self.app.gates, verdicts, len(blamed), len(new))
        summary = "; ".join(f"{v.name} {_compared(v)} against {v.threshold:g}" for v in failed)
        if hopeless and (left < 1 or not 0 < len(blamed) < len(new)):
            return self._reject(
                run, "; ".join(filter(None, (f"{summary}: {hopeless}", _loss(report, new, blamed))))
            )
        if hopeless:
            return self._with_those_that_passed(run, blamed, f"{summary}: {hopeless}")
        return self._without(run, condemned(report, blamed, new, left), left, summary)

    def _with_those_that_passed(self, run: Run, blamed: tuple[gates.Blame, ...], why: str) -> Run:
        """Build another round without the blamed facts, which stay wanted: they are not the cause.

        Live's values in their slots stay in it.
        """
        bad = {int(item.fact) for item in blamed}
        with self.leadership.write() as tx:
            rest = [*outdated.what_is_left(tx, run, bad), *predecessors(tx, bad)]
            return self._next_round(tx, run, rest, f"{why}; without {len(bad)} facts, which stay wanted")

    def _without(self, run: Run, leaving: tuple[gates.Blame, ...], left: int, summary: str) -> Run:
        """Quarantine facts, and build another round with the rest while the budget lasts."""
        crash_point("kbsync.lifecycle:before-quarantine")
        report, settings = self.report(run), judged_under(self.app.settings, self.app.gates)
        moves = bars(run, leaving, report, settings)
        with self.leadership.write() as tx:
            new = {str(fact.id) for fact in self._new_facts(tx, run)}
            bad = {int(item.fact) for item in leaving}
            back = quarantine(tx, moves, _RESTORED, ACTOR)
            rest = [*outdated.what_is_left(tx, run, bad), *back]
            reason = f"{summary}: {len(bad)} {'fact' if len(bad) == 1 else 'facts'} quarantined"
            if left < 1 or not rest:
                why = "no round is left" if rest else "nothing is left to build"
                loss = _loss(report, new, leaving)
                return end_run(tx, run, "rejected", "; ".join(filter(None, (reason, why, loss))), ACTOR)
            return self._next_round(tx, run, rest, reason)

    def _next_round(self, tx: Transaction, run: Run, facts: list[Fact], reason: str) -> Run:
        """The run, building a view of `facts`; rejected if live already is that view."""
        smaller, live = tx.create_view(list({fact.id: fact for fact in facts}.values())), tx.live()
        if live is not None and (live.view, live.base) == (smaller.digest, run.base):
            return end_run(tx, run, "rejected", f"{reason}; live has all the rest", ACTOR)
        discard_candidate(tx, run, reason, ACTOR)
        return tx.advance_run(run.id, "judged", "building", actor=ACTOR, reason=reason, view=smaller.digest)

    def _review(self, run: Run) -> Run:
        """Wait for a reviewer until the timeout; the wait ends early if the candidate is no longer what is wanted."""
        if lost := bases.why_gone(self.app, run) or outdated.why_lost(self.app, run):
            return self._end_outdated(run, lost)
        if unwanted := outdated.newly_unwanted(self.app, run) or outdated.withdrawn(self.app, run):
            return self._end_outdated(run, f"{UNWANTED}: {named(unwanted)}")
        review = self.app.settings.review
        if run.review_until is None or self.app.now() < run.review_until:
            return run
        reason = f"nobody decided within {review.timeout}"
        if review.on_timeout == "approve":
            return self._advance(run, "staged", reason=reason)
        return self._reject(run, reason)

    def _promote(self, run: Run) -> Run:
        """Complete the version and promote it; a run waits in quiet hours, and if ledger and log disagree."""
        app = self.app
        if self.quiet_until() is not None and not self._was_decided(run):
            if unwanted := outdated.newly_unwanted(app, run) or outdated.withdrawn(app, run):
                return self._end_outdated(run, f"{UNWANTED}: {named(unwanted)}")
            return run
        if app.settings.state.verify_before_promotion and integrity.prove(app, self.leadership):
            return run
        return promotion.complete(app, self.leadership, run, actor=ACTOR)

    def _deploy(self, run: Run) -> Run:
        return finish(self.app, self.leadership, run, asked=self.asked)

    # What the steps share

    def quiet_until(self) -> datetime | None:
        """When the current quiet hours end, if nobody asked for what is done; None: it is not quiet."""
        return self.app.settings.schedule.quiet_until(self.app.now()) if self.scheduled else None

    @staticmethod
    def _was_decided(run: Run) -> bool:
        """Whether it was decided before that this run happens: it takes facts out, or brings live back."""
        return run.trigger == WITHDRAWAL or run.trigger.startswith(recovery.TRIGGER)

    def report(self, run: Run) -> BuildReport:
        """The measurements, with the votes of a judge model that count; raises BadData as `_measured` does."""
        return counted_report(self.app, self._measured(run), self._directory(run))

    def _measured(self, run: Run) -> BuildReport:
        """The worker's measurements; raises BadData if they are about another candidate than the run's."""
        report = BuildReport.read(self._directory(run).report)
        assert run.checkpoint is not None
        with self.app.state.read() as tx:
            digest = tx.checkpoint(run.checkpoint).digest
        if report.checkpoint_digest != digest:
            raise BadData(
                f"the report of run {run.id} is about {report.checkpoint_digest[:12]}…, "
                f"its candidate is {digest[:12]}…",
                "build it again with `kbsync sync`",
            )
        return report

    def _verdicts(self, run: Run) -> tuple[gates.GateVerdict, ...]:
        """The verdicts recorded for the round, whatever the settings are now."""
        with self.app.state.read() as tx:
            found = [one for one in tx.gate_results(run.id) if one.round == run.round]
        return tuple(
            gates.GateVerdict(r.name, r.value, r.bound, r.threshold, r.n, r.passed, r.detail) for r in found
        )

    def _directory(self, run: Run) -> RunDirectory:
        return self.app.home.round(run.id, run.round)

    def _advance(self, run: Run, to: RunState, *, reason: str = "", checkpoint: int | None = None) -> Run:
        with self.leadership.write() as tx:
            return tx.advance_run(run.id, run.state, to, actor=ACTOR, reason=reason, checkpoint=checkpoint)

    def _fail(self, run: Run, reason: str) -> Run:
        log.error("run.failed", reason=reason)
        return self._end(run, "failed", reason)

    def _reject(self, run: Run, reason: str) -> Run:
        return self._end(run, "rejected", reason)

    def _end(self, run: Run, to: RunState, reason: str) -> Run:
        with self.leadership.write() as tx:
            return end_run(tx, run, to, reason, ACTOR)

    def _end_outdated(self, run: Run, why: str) -> Run:
        self.outdated += 1
        return self._reject(run, f"{why}; it is planned again")

    def _new_facts(self, tx: Snapshot, run: Run) -> list[Fact]:
        live = tx.live()
        held = {fact.id for fact in tx.view_facts(live.view)} if live else set()
        return [fact for fact in tx.view_facts(run.view) if fact.id not in held]

    def _needs_review(self, run: Run) -> bool:
        with self.app.state.read() as tx:
            new, live = self._new_facts(tx, run), tx.live()
        if self._was_decided(run) and not new and live is not None and live.base == run.base:
            return False  # to take facts out, or to have live, was decided: there is nothing else to approve
        return review_needed(self.app.settings.review, new)


def _loss(report: BuildReport, new: set[str], blamed: tuple[gates.Blame, ...]) -> str:
    """What the spread loses, where single facts are blamed: advice about gates of the whole is `systematic`'s."""
    return spread_loss(report, new) if blamed else ""


def _compared(verdict: gates.GateVerdict) -> str:
    """What a gate measured and, where that is another number, what it compared with the threshold."""
    if verdict.value is None:
        return "not measured"
    value, bound = f"{verdict.value:.3f}", verdict.bound
    return value if bound is None or f"{bound:.3f}" == value else f"{value} (judged as {bound:.3f})"
