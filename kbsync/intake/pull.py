"""Pull changes from a source and admit them, one committed step at a time.

Each step of a poll is one transaction: entities, observations, cursor, verdicts and their facts, with
all events.  After a crash between two steps, reading continues from the last step's cursor; applying a
step twice changes nothing.  An `Intake` serves one cycle: its volume breaker counts over all sources.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from types import MappingProxyType

from connectors.observations import Connector, Poll
from editing.undisturbed import undisturbed
from kbsync.admission.policy import Policy
from kbsync.catalogue.relations import Catalogue
from kbsync.intake import entities, rendering
from kbsync.intake.admit import ACTOR, Admission, Breaker, stored
from kbsync.intake.forgotten import cursor_without_forgotten, without_forgotten
from kbsync.intake.report import LONGEST_REJECT, IntakeReport
from kbsync.visible import visible
from state.fact_queries import FactFilter
from state.ledger import State, Transaction, utc_now
from state.records import SlotKey

PAGE = 1_000
"""Slots per transaction where the source does not determine the size of a step."""


@dataclass(frozen=True, slots=True)
class _Reread:
    """The result of a snapshot."""

    report: IntakeReport = field(default_factory=IntakeReport)
    slots: set[SlotKey] = field(default_factory=set)
    """Slots for which the source returned an observation."""


def _never() -> bool:
    return False


class Intake:
    """One cycle's intake into one ledger."""

    approvals: int = 1
    """Number of people who have to approve a value (`kbsync/approvals.py`)."""

    def __init__(
        self,
        state: State,
        policy: Policy,
        catalogue: Catalogue,
        clock: Callable[[], datetime] = utc_now,
        *,
        alive: Callable[[], None] = lambda: None,
        write: Callable[[], AbstractContextManager[Transaction]] | None = None,
        special_tokens: frozenset[str] = frozenset(),
    ) -> None:
        """`alive` is called between two transactions, because a first import may take hours.

        `write` opens the leader's transactions; without it, no lease is checked (for commands that need none).
        `special_tokens`: the base model's control tokens as text, which no label may contain.
        """
        self.state, self.policy, self.catalogue, self.clock = state, policy, catalogue, clock
        self.alive = alive
        self.write = write or state.write
        self.special_tokens = special_tokens
        self.breaker = Breaker(policy.max_accepted)
        self.expect: Callable[[], None] = lambda: None
        """Called after a step that made a fact wanted."""

    def admission(self, breaker: Breaker | None = None) -> Admission:
        """The rules in force; without `breaker`, the number of accepted facts is not limited."""
        return Admission(self.policy, self.catalogue, self.special_tokens, breaker or Breaker(None))

    def pull(
        self, connector: Connector, *, bootstrap: bool = False, pause: Callable[[], bool] = _never
    ) -> IntakeReport:
        """Read and admit everything that has changed at the source since its cursor.

        `bootstrap`: values that the source does not date count as settled, and the volume breaker does not
        apply.  `pause` is called after each step; if it returns true, the rest is left for the next call.
        Raises what the connector raises; steps committed before that stay, with their cursor.
        """
        with self.state.read() as tx:
            cursor = tx.cursor(connector.name)
        report, answered = IntakeReport(), False
        for step in connector.poll(cursor):
            answered = True
            cursors = {connector.name: step.cursor} if step.cursor is not None else {}
            report.merge(self.apply(connector.name, step, bootstrap=bootstrap, cursors=cursors))
            self.alive()
            if pause():
                report.unfinished = True
                break
        if answered:
            self._keep_rejects(connector.name, report)
        return report

    def reconcile(self, connector: Connector, *, pause: Callable[[], bool] = _never) -> IntakeReport:
        """Re-read every slot that was ever read from the source, and admit it again.

        This finds changes that polling missed, removals above all, and applies changes of time or settings.
        If a source cannot be read again (a drop folder), its stored statements are judged again.  `pause` is
        called after each page; if it returns true, the next call continues with the following page.
        """
        report = IntakeReport()
        with self.state.read() as tx:
            position = tx.source_health([connector.name])[connector.name].reconciled or 0
        while True:
            with self.state.read() as tx:
                pairs, after = tx.watched_page(connector.name, position, PAGE)
            reread = self._reread(connector, pairs)
            report.merge(reread.report)
            report.merge(self.readmit(set(pairs) - reread.slots))
            is_last = len(pairs) < PAGE
            with self.write() as tx:
                tx.source_reconciled(connector.name, None if is_last else after)
            if is_last:
                return report
            position = after
            if pause():
                report.unfinished = True
                return report

    def audit(self, connector: Connector, slots: int, seed: int) -> IntakeReport:
        """Re-read a random sample of `slots` watched slots; `report.new` counts changes that polling missed."""
        with self.state.read() as tx:
            pairs = tx.random_slots(connector.name, slots, seed)
        return self._reread(connector, pairs).report

    def release_due(self) -> IntakeReport:
        """Admit facts again whose hold or known end has been reached, and slots that were read before the
        catalogue listed their relation."""
        now = self.clock()
        with self.state.read() as tx:
            pairs = {(fact.subject, fact.relation) for fact in tx.due(now)}
            waiting = bool(tx.unrendered(self.catalogue, 1))
        report = self.readmit(pairs)
        while waiting:
            with undisturbed(), self.write() as tx:
                page = rendering.render_listed(tx, self.catalogue, PAGE)
                self._admit(tx, page, report, bootstrap=False)
            waiting = len(page) == PAGE
        return report

    def follow_catalogue(self) -> IntakeReport:
        """Render slots again whose relation's template has changed, and admit them; wanted facts keep their
        template."""
        with self.state.read() as tx:
            known = tx.renderings()
        touched = rendering.follow_catalogue(self.state, self.write, self.catalogue, PAGE)
        report = self.readmit(touched)
        rendering.caught_up(self.write, self.catalogue, known)
        return report

    def readmit_homonyms(self) -> IntakeReport:
        """Admit again what a slot with the same prompt keeps out, because that slot may have another prompt now."""
        with self.state.read() as tx:
            pairs = rendering.kept_out(tx)
        return self.readmit(pairs)

    def bootstrap_waiting(self) -> IntakeReport:
        """Apply the bootstrap rules to values that were read earlier: those that the volume breaker stopped,
        and those that are still settling."""
        with self.state.read() as tx:
            waiting = [
                *tx.facts(status="held"),
                *tx.chosen_facts(FactFilter(status="quarantined", reason_code="volume")),
            ]
        return self.readmit(((fact.subject, fact.relation) for fact in waiting), bootstrap=True)

    def readmit(self, pairs: Iterable[SlotKey], *, bootstrap: bool = False) -> IntakeReport:
        """Admit slots again from the stored observations, for example after a review or a change of policy."""
        report = IntakeReport()
        remaining = iter(sorted(set(pairs)))
        while page := list(islice(remaining, PAGE)):
            self.admit_page(page, report, bootstrap=bootstrap, cursors={})
            self.alive()
        return report

    def _reread(self, connector: Connector, pairs: list[SlotKey]) -> _Reread:
        found = _Reread()
        for step in connector.snapshot(pairs):
            done = self.apply(connector.name, step, all_of_it=True)
            found.report.merge(done)
            self.alive()
            found.slots.update((seen.subject.id, seen.relation) for seen in step.observations)
        return found

    def apply(
        self,
        source: str,
        step: Poll,
        *,
        bootstrap: bool = False,
        cursors: Mapping[str, str] = MappingProxyType({}),
        all_of_it: bool = False,
        admit: bool = True,
    ) -> IntakeReport:
        """Apply one step, and keep the cursors that cover it (by name), in one transaction.

        `all_of_it`: slots that say what is known already are judged again, too.  `admit`: without it nothing is judged
        yet, and the caller has to `admit_page` what was read.
        """
        report = IntakeReport()
        with undisturbed(), self.write() as tx:
            step = without_forgotten(tx, step)
            rows = [stored(observation) for observation in step.observations]
            touched = entities.name(tx, self.catalogue, step)
            touched |= entities.redirect(tx, source, step.redirects, self.clock())
            touched |= entities.keep_merges(tx, source, step)
            touched |= entities.merge_objects(tx, (*step.redirects, *step.merged_objects))
            outcomes = tx.record(rows, actor=source)
            for row, outcome in zip(rows, outcomes, strict=True):
                if all_of_it or outcome != "duplicate":
                    touched.add((row.subject, row.relation))
            report.observations = len(rows)
            report.rejected, report.reject = step.rejected, visible(step.reject, LONGEST_REJECT)
            report.unlisted = dict(Counter(r.relation for r in rows if r.relation not in self.catalogue))
            report.new, report.late = outcomes.count("new"), outcomes.count("late")
            self._admit(tx, touched if admit else (), report, bootstrap=bootstrap)
            for name, cursor in cursors.items():
                tx.set_cursor(name, cursor_without_forgotten(tx, cursor))
        if any(decision.kind == "accept" for decision in report.decisions):
            self.expect()
        return report

    def admit_page(
        self, pairs: Iterable[SlotKey], report: IntakeReport, *, bootstrap: bool, cursors: Mapping[str, str]
    ) -> None:
        """Admit slots from their stored observations, and keep the cursors that cover them, in one transaction."""
        with undisturbed(), self.write() as tx:
            self._admit(tx, pairs, report, bootstrap=bootstrap)
            for name, cursor in cursors.items():
                tx.set_cursor(name, cursor)

    def _keep_rejects(self, source: str, report: IntakeReport) -> None:
        with self.state.read() as tx:
            known = tx.source_health([source])[source]
        if (known.rejected, known.reject) != (report.rejected, report.reject):
            with self.write() as tx:
                tx.source_rejected(source, report.rejected, report.reject)

    def _admit(
        self, tx: Transaction, pairs: Iterable[SlotKey], report: IntakeReport, *, bootstrap: bool
    ) -> None:
        breaker = Breaker(None) if bootstrap else self.breaker
        already, refused = breaker.tripped, breaker.refused
        admission = self.admission(breaker)
        report.add(admission.admit(tx, pairs, self.clock(), bootstrap=bootstrap))
        report.tripped, report.stopped = breaker.tripped, breaker.refused - refused
        if breaker.tripped and not already:
            tx.emit("breaker.tripped", ACTOR, {"limit": self.policy.max_accepted})
