"""Pulling: what a source says becomes what is wanted, one committed step at a time.

Each step of a poll is one transaction: entities, observations, cursor, verdicts and their facts, with
all events.  A process killed between two steps goes on from the last one's cursor; a step applied twice
changes nothing.  An `Intake` serves one cycle: its volume breaker counts over all sources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice

from connectors.observations import Connector, Poll
from editing.requests import prompt_key, render
from kbsync import labels
from kbsync.admitting import ACTOR, Admission, Admitted, Breaker, Pair, stored, stored_entity
from kbsync.policy import Policy
from kbsync.relations import Catalogue
from kbsync.statements import dump
from kbsync.verdicts import Verdict
from state.ledger import State, Transaction, utc_now
from state.records import Entity, Fact, Move, NewFact, Slot, StoredObservation

PAGE = 1_000
"""Slots admitted in one transaction where no source dictates the step."""

LISTED = 5_000
"""Decisions a report lists; beyond that it only counts (a first import may have a million)."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One line of a report."""

    slot: Slot
    verdict: Verdict

    @property
    def kind(self) -> str:
        return self.verdict.kind

    @property
    def code(self) -> str:
        return self.verdict.reason.code


@dataclass(slots=True)
class Report:
    """What an intake did: counts of everything, lists of what changed."""

    observations: int = 0
    new: int = 0
    late: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)
    """By kind: unchanged, hold, quarantine, accept, retract."""
    reasons: dict[str, int] = field(default_factory=dict)
    """By code."""
    decisions: list[Decision] = field(default_factory=list)
    """Those that changed the ledger, the first `LISTED` of them."""
    tripped: bool = False
    """Whether the volume breaker stopped facts."""

    def add(self, admitted: Iterable[Admitted]) -> None:
        for one in admitted:
            kind, code = one.verdict.kind, one.verdict.reason.code
            self.verdicts[kind] = self.verdicts.get(kind, 0) + 1
            self.reasons[code] = self.reasons.get(code, 0) + 1
            if one.changed and len(self.decisions) < LISTED:
                self.decisions.append(Decision(one.slot, one.verdict))

    def by_kind(self, kind: str) -> tuple[Decision, ...]:
        return tuple(decision for decision in self.decisions if decision.kind == kind)

    def merge(self, other: Report) -> None:
        """Adds what another part of the same cycle did."""
        self.observations += other.observations
        self.new += other.new
        self.late += other.late
        for counts, more in ((self.verdicts, other.verdicts), (self.reasons, other.reasons)):
            for name, count in more.items():
                counts[name] = counts.get(name, 0) + count
        self.decisions.extend(other.decisions[: LISTED - len(self.decisions)])
        self.tripped = self.tripped or other.tripped


class Intake:
    """One cycle's intake into one ledger."""

    def __init__(
        self, state: State, policy: Policy, catalogue: Catalogue, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self.state, self.policy, self.catalogue, self.clock = state, policy, catalogue, clock
        self.breaker = Breaker(policy.max_accepted)

    def pull(self, connector: Connector, *, bootstrap: bool | None = None) -> Report:
        """Everything that changed at the source since its cursor.

        `bootstrap`: this is the source's first import (None: it is, if it has no cursor yet); values
        older than the settle window are then settled, and the volume breaker does not apply.  Raises
        what the connector raises; steps committed before that stay, with their cursor.
        """
        with self.state.read() as tx:
            cursor = tx.cursor(connector.name)
        first = cursor is None if bootstrap is None else bootstrap
        report = Report()
        for step in connector.poll(cursor):
            report.merge(self._apply(connector.name, step, bootstrap=first, cursor=step.cursor))
        return report

    def reconcile(self, connector: Connector) -> Report:
        """Re-reads every slot that the source was ever read for, and admits each again.

        Finds what polling missed, removals above all, and what only time has changed.
        """
        report = Report()
        with self.state.read() as tx:
            watched = tx.watched(connector.name)
            while pairs := list(islice(watched, PAGE)):
                report.merge(self._reread(connector, pairs))
        return report

    def audit(self, connector: Connector, slots: int, seed: int) -> Report:
        """Re-reads `slots` watched slots picked by chance; `report.new` counts what polling had missed."""
        with self.state.read() as tx:
            pairs = tx.random_slots(connector.name, slots, seed)
        return self._reread(connector, pairs)

    def release_due(self) -> Report:
        """Admits again what was held until now, or was known to end by now."""
        now = self.clock()
        with self.state.read() as tx:
            pairs = {(fact.subject, fact.relation) for fact in tx.due(now)}
        return self.readmit(pairs)

    def readmit(self, pairs: Iterable[Pair]) -> Report:
        """Admits slots again from what the ledger already knows (after a review, a change of policy)."""
        report = Report()
        remaining = iter(sorted(set(pairs)))
        while page := list(islice(remaining, PAGE)):
            with self.state.write() as tx:
                self._admit(tx, page, report, bootstrap=False)
        return report

    def _reread(self, connector: Connector, pairs: list[Pair]) -> Report:
        report = Report()
        for step in connector.snapshot(pairs):
            report.merge(self._apply(connector.name, step, bootstrap=False, cursor=None, all_of_it=True))
        return report

    def _apply(
        self, source: str, step: Poll, *, bootstrap: bool, cursor: str | None, all_of_it: bool = False
    ) -> Report:
        """One step, one transaction."""
        report = Report()
        with self.state.write() as tx:
            rows = _rows(tx, step)
            touched = self._name(tx, step)
            touched |= self._redirect(tx, source, step.redirects)
            outcomes = tx.record(rows, actor=source)
            for row, outcome in zip(rows, outcomes, strict=True):
                if all_of_it or outcome != "duplicate":
                    touched.add((row.subject, row.relation))
            report.observations = len(rows)
            report.new, report.late = outcomes.count("new"), outcomes.count("late")
            self._admit(tx, touched, report, bootstrap=bootstrap)
            if cursor is not None:
                tx.set_cursor(source, cursor)
        return report

    def _admit(self, tx: Transaction, pairs: Iterable[Pair], report: Report, *, bootstrap: bool) -> None:
        breaker = Breaker(None) if bootstrap else self.breaker
        already = breaker.tripped
        admission = Admission(self.policy, self.catalogue, breaker)
        report.add(admission.admit(tx, pairs, self.clock(), bootstrap=bootstrap))
        report.tripped = breaker.tripped
        if breaker.tripped and not already:
            tx.emit("breaker.tripped", ACTOR, {"limit": self.policy.max_accepted})

    def _name(self, tx: Transaction, step: Poll) -> set[Pair]:
        """Stores entities and slots; returns the slots that a new label or death concerns."""
        offered = _entities(step)
        before = tx.entities(offered)
        tx.put_entities(offered.values())
        changed = {name for name, old in before.items() if _matters(old, offered[name])}
        pairs = {(observation.subject.id, observation.relation) for observation in step.observations}
        known = tx.slots(pairs) | tx.slots_of_subjects(changed)
        new = [
            render_slot(subject, self.catalogue[relation].template, relation, offered[subject].label)
            for subject, relation in sorted(pairs - known.keys())
            if relation in self.catalogue
        ]
        rendered = {pair: _rerendered(slot, offered.get(slot.subject)) for pair, slot in known.items()}
        moved = {pair: slot for pair, slot in rendered.items() if slot != known[pair]}
        tx.put_slots([*new, *moved.values()])
        left = tx.slots_with_prompt_keys({known[pair].prompt_key for pair in moved})
        return (
            {pair for pair in known if pair[0] in changed}
            | {(slot.subject, slot.relation) for slots in left.values() for slot in slots}
            | tx.slots_of_objects(changed)
        )

    def _redirect(self, tx: Transaction, source: str, redirects: Iterable[tuple[str, str]]) -> set[Pair]:
        """Subjects merged at the source: what is wanted moves to the new subject, prompt and all.

        The old subject's slots are closed by an observation without statements, so that they are
        no rivals of the new one's.
        """
        targets = dict(redirects)
        slots = tx.slots_of_subjects(targets)
        said, facts, newest = tx.current(slots), tx.facts_of(slots), tx.newest_revisions(source, slots)
        taken = tx.facts_of((targets[subject], relation) for subject, relation in slots)
        moves: list[Move] = []
        puts: list[NewFact] = []
        closing: list[StoredObservation] = []
        inherited: list[Slot] = []
        known = tx.slots((targets[subject], relation) for subject, relation in slots)
        for pair, slot in slots.items():
            heir = (targets[pair[0]], pair[1])
            closing.extend(
                replace(seen, revision=newest[pair] + 1, observed=self.clock(), statements=dump(()))
                for seen in said.get(pair, ())
                if seen.source == source and seen.statements != dump(())
            )
            if heir not in known:
                inherited.append(replace(slot, subject=heir[0], id=None))
            for fact in facts.get(pair, ()):
                if fact.status == "wanted":
                    moves.append(Move(fact.id, "superseded", f"{_MERGED}: into {heir[0]}", expect="wanted"))
                    if not any(other.status == "wanted" for other in taken.get(heir, ())):
                        puts.append(_inherited(fact, heir[0]))
        tx.put_slots(inherited)
        tx.record(closing, actor=source)
        tx.move_facts(moves, ACTOR)
        tx.put_facts(puts, ACTOR)
        return {*slots, *((targets[subject], relation) for subject, relation in slots)}


_MERGED = "redirected"


def _rows(tx: Transaction, step: Poll) -> list[StoredObservation]:
    """The step's observations for the ledger.

    A subject that is gone has no revision of its own any more: it gets one above all that were read.
    """
    gone = [observation for observation in step.observations if observation.gone]
    newest = {
        source: tx.newest_revisions(source, {(o.subject.id, o.relation) for o in gone if o.source == source})
        for source in {observation.source for observation in gone}
    }
    rows = []
    for observation in step.observations:
        row = stored(observation)
        if observation.gone:
            last = newest[row.source].get((row.subject, row.relation), 0)
            row = replace(row, revision=max(row.revision, last + 1))
        rows.append(row)
    return rows


def render_slot(subject: str, template: str, relation: str, label: str | None) -> Slot:
    """The slot as it renders now; a subject without a label stands under its id until it has one."""
    shown = (labels.clean(label) if label else "") or subject
    return Slot(subject, relation, shown, template, prompt_key(render(template, shown)))


def _rerendered(slot: Slot, entity: Entity | None) -> Slot:
    """The slot with the subject's new label, in the template that it is pinned to."""
    if entity is None or entity.label is None:
        return slot
    fresh = render_slot(slot.subject, slot.template, slot.relation, entity.label)
    return replace(fresh, id=slot.id)


def _entities(step: Poll) -> dict[str, Entity]:
    """Everything the step names, by id; the fullest mention of an entity wins."""
    found: dict[str, Entity] = {}
    objects = (
        statement.object
        for observation in step.observations
        for statement in observation.statements
        if statement.object is not None and statement.kind == "entity"
    )
    for entity in (*objects, *step.labels, *(observation.subject for observation in step.observations)):
        known = found.get(entity.id)
        if known is None or (entity.label is not None and len(entity.aliases) >= len(known.aliases)):
            found[entity.id] = stored_entity(entity)
    return found


def _matters(old: Entity, new: Entity) -> bool:
    """Whether what is newly known of an entity can change a verdict."""
    relabelled = new.label is not None and new.label != old.label
    return relabelled or (new.living is not None and new.living != old.living)


def _inherited(fact: Fact, subject: str) -> NewFact:
    return NewFact(
        subject=subject,
        subject_label=fact.subject_label,
        relation=fact.relation,
        object=fact.object,
        target=fact.target,
        template=fact.template,
        prompt_key=fact.prompt_key,
        status="wanted",
        reason=f"{_MERGED}: from {fact.subject}",
        source=fact.source,
        revision=fact.revision,
        statement=fact.statement,
        priority=fact.priority,
    )
