"""Apply the admission rules to slots of the ledger, in bulk, and write the resulting changes.

The given slots are extended by their rivals (slots that render to the same prompt) and by the rivals of
those, because a conflict concerns both sides and its end releases both.  The cost of a call depends on
the number of slots it is given, not on the size of the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from connectors import observations as source
from connectors.observations import LITERAL
from kbsync import telemetry
from kbsync.admission.effects import consequences
from kbsync.admission.history import History, Stated
from kbsync.admission.meaning import Denied
from kbsync.admission.past import as_of
from kbsync.admission.policy import Policy
from kbsync.admission.rivals import Claim
from kbsync.admission.rules import admit, claim
from kbsync.admission.verdicts import Accept, Quarantine, Reason, Verdict
from kbsync.catalogue.relations import Catalogue, Relation
from kbsync.intake import statements
from state.ledger import Snapshot, Transaction
from state.records import GONE, Fact, Move, NewFact, Slot, SlotKey, StoredEntity, StoredObservation

ACTOR = "admission"


@dataclass(slots=True)
class Breaker:
    """Counts accepted facts over one cycle; beyond `limit` (None: no limit) it is tripped."""

    limit: int | None
    accepted: int = 0
    refused: int = 0

    @property
    def tripped(self) -> bool:
        return self.refused > 0

    def admits(self, facts: int = 1) -> bool:
        """Whether `facts` more may be accepted, all or none; counts them either way."""
        if self.limit is not None and self.accepted + facts > self.limit:
            self.refused += facts
            return False
        self.accepted += facts
        return True


@dataclass(frozen=True, slots=True)
class Admitted:
    """One slot's verdict, and whether it changed the ledger."""

    slot: Slot
    verdict: Verdict
    changed: bool
    """Whether the verdict changed any row of the ledger."""


@dataclass(frozen=True)
class Admission:
    """The rules and the catalogue, applied to slots of a ledger."""

    policy: Policy
    catalogue: Catalogue
    special_tokens: frozenset[str] = frozenset()
    """The base model's control tokens, as text."""
    breaker: Breaker = field(default_factory=lambda: Breaker(None))

    def admit(
        self,
        tx: Transaction,
        pairs: Iterable[SlotKey],
        now: datetime,
        *,
        bootstrap: bool = False,
        forgotten: bool = False,
    ) -> list[Admitted]:
        """Judge `pairs` and their rivals, write the consequences, and return the verdicts in a stable order.

        `forgotten`: an operator has just removed a source's statements about `pairs`.
        """
        pairs = set(pairs)
        with telemetry.span("admit", slots=len(pairs)):
            return self._admit(tx, pairs, now, bootstrap=bootstrap, forgotten=forgotten)

    def admitted_at(
        self, tx: Snapshot, pairs: Iterable[SlotKey], at: datetime
    ) -> dict[SlotKey, tuple[History, Verdict]]:
        """The history of each slot, and what would be accepted from what its sources state now if it were `at`.

        Nothing is written (`kbsync/admission/past.py`).
        """
        pairs = set(pairs)
        groups = _with_rivals(tx, pairs)
        histories = self.histories(tx, groups.pairs, bootstrap=True)
        then = {pair: as_of(history, at) for pair, history in histories.items()}
        verdicts = self._verdicts(then, groups, at)
        return {pair: (histories[pair], verdicts[pair]) for pair in pairs & histories.keys()}

    def _admit(
        self, tx: Transaction, pairs: set[SlotKey], now: datetime, *, bootstrap: bool, forgotten: bool
    ) -> list[Admitted]:
        groups = _with_rivals(tx, pairs)
        histories = self.histories(tx, groups.pairs, bootstrap=bootstrap)
        if forgotten:
            histories |= {pair: replace(histories[pair], forgotten=True) for pair in pairs & histories.keys()}
        verdicts = self._verdicts(histories, groups, now)
        self._break(histories, verdicts, groups)
        return self._write(tx, histories, verdicts)

    def histories(
        self, tx: Snapshot, slots: Mapping[SlotKey, Slot], *, bootstrap: bool
    ) -> dict[SlotKey, History]:
        """Everything that admission needs to know about the slots, read in a few queries."""
        stated = {pair: tuple(map(parsed, seen)) for pair, seen in tx.histories(slots).items()}
        facts = tx.facts_of(slots)
        known = tx.entities(_mentioned(slots, stated, facts))
        deny = self._denied(tx)
        return {
            pair: History(
                slot=slot,
                relation=self.catalogue.get(pair[1]) or _unlisted(slot),
                observations=stated.get(pair, ()),
                facts=facts.get(pair, ()),
                entities=known,
                special_tokens=self.special_tokens,
                deny=deny,
                bootstrap=bootstrap,
            )
            for pair, slot in slots.items()
        }

    def _denied(self, tx: Snapshot) -> Denied:
        """The objects on the deny-list, and what they were merged into, with the names that sources have given them."""
        listed = self.policy.deny_objects
        heirs = tx.heirs(listed)
        known = tx.entities({*listed, *heirs})
        entities = (known.get(id) or StoredEntity(id, None) for id in sorted({*listed, *heirs}))
        return Denied.of(entities, heirs, tx.heirs(self.policy.deny_subjects))

    def _verdicts(
        self, histories: Mapping[SlotKey, History], groups: _Groups, now: datetime
    ) -> dict[SlotKey, Verdict]:
        claims = {pair: claim(self.policy, histories[pair], now) for pair in groups.rivals}
        return {
            pair: admit(self.policy, history, _others(claims, groups, pair), now)
            for pair, history in histories.items()
        }

    def _break(
        self, histories: Mapping[SlotKey, History], verdicts: dict[SlotKey, Verdict], groups: _Groups
    ) -> None:
        """Quarantine what the volume breaker stops; slots with the same prompt pass together or not at all."""
        asked: set[SlotKey] = set()
        for pair in sorted(verdicts):
            if pair in asked:
                continue
            together = [
                one for one in (pair, *groups.rivals.get(pair, ())) if isinstance(verdicts[one], Accept)
            ]
            asked.update(together)
            if together and not self.breaker.admits(len(together)):
                for one in together:
                    verdicts[one] = self._stopped(verdicts[one])

    def _stopped(self, verdict: Verdict) -> Verdict:
        if not isinstance(verdict, Accept):
            return verdict
        text = f"more than {self.breaker.limit} facts were accepted in one cycle"
        return Quarantine(Reason("volume", text), (verdict.value,), stated=verdict.stated)

    def _write(
        self, tx: Transaction, histories: Mapping[SlotKey, History], verdicts: Mapping[SlotKey, Verdict]
    ) -> list[Admitted]:
        """Write all moves before all new rows, so that no slot and no prompt ever has two wanted objects."""
        admitted: list[Admitted] = []
        moves: list[Move] = []
        puts: list[NewFact] = []
        for pair in sorted(verdicts):
            history, verdict = histories[pair], verdicts[pair]
            outcome = consequences(history, verdict)
            admitted.append(Admitted(history.slot, verdict, bool(outcome.moves or outcome.puts)))
            moves.extend(outcome.moves)
            puts.extend(outcome.puts)
        rows = {pair: {fact.id: fact for fact in history.facts} for pair, history in histories.items()}
        moved = tx.move_facts(
            moves, ACTOR, known=[fact for facts in rows.values() for fact in facts.values()]
        )
        for fact in moved:
            rows[fact.subject, fact.relation][fact.id] = fact
        tx.put_facts(puts, ACTOR, known={pair: tuple(facts.values()) for pair, facts in rows.items()})
        return admitted


@dataclass(frozen=True, slots=True)
class _Groups:
    """Slots, and which of them share a prompt."""

    pairs: dict[SlotKey, Slot]
    rivals: dict[SlotKey, set[SlotKey]]
    """For each slot that has rivals: the other slots with its prompt."""


def _with_rivals(tx: Snapshot, pairs: set[SlotKey]) -> _Groups:
    """`pairs`, every slot that shares a prompt with one of them, and so on until no more are found."""
    slots: dict[SlotKey, Slot] = {}
    members: dict[str, set[SlotKey]] = {}
    fresh = tx.slots(pairs)
    while fresh:
        slots.update(fresh)
        keys = {slot.prompt_key for slot in fresh.values()} - members.keys()
        found = tx.slots_with_prompt_keys(keys)
        pinned = tx.wanted_with_prompt_keys(keys)
        for key in keys:
            members[key] = {(slot.subject, slot.relation) for slot in found.get(key, ())}
            members[key].update((fact.subject, fact.relation) for fact in pinned.get(key, ()))
        fresh = tx.slots({pair for key in keys for pair in members[key]} - slots.keys())
    rivals: dict[SlotKey, set[SlotKey]] = {}
    for together in members.values():
        if len(together) > 1:
            for pair in together:
                rivals.setdefault(pair, set()).update(together - {pair})
    return _Groups(slots, rivals)


def _others(claims: Mapping[SlotKey, Claim], groups: _Groups, pair: SlotKey) -> list[Claim]:
    return [claims[rival] for rival in sorted(groups.rivals.get(pair, ()))]


def _mentioned(
    slots: Iterable[SlotKey],
    stated: Mapping[SlotKey, tuple[Stated, ...]],
    facts: Mapping[SlotKey, tuple[Fact, ...]],
) -> set[str]:
    """Ids of the subjects and of the objects of statements and facts, without literals."""
    names = {subject for subject, _ in slots}
    names.update(
        statement.object.id
        for seen in stated.values()
        for one in seen
        for statement in one.held
        if statement.object is not None
    )
    names.update(fact.object for rows in facts.values() for fact in rows)
    return {name for name in names if not name.startswith(LITERAL)}


def _unlisted(slot: Slot) -> Relation:
    """A disabled stand-in for a relation that is no longer in the catalogue: no new facts of it are learnt."""
    return Relation(slot.relation, slot.relation, True, "thing", (slot.template,), enabled=False)


def parsed(observation: StoredObservation) -> Stated:
    """Parse a stored observation for the rules, which never see JSON."""
    return Stated(
        observation.source,
        observation.revision,
        observation.modified,
        observation.observed,
        statements.load(observation.statements),
    )


def stored(observation: source.Observation) -> StoredObservation:
    """Convert a connector's observation to the ledger's record."""
    return StoredObservation(
        source=observation.source,
        subject=observation.subject.id,
        relation=observation.relation,
        revision=GONE if observation.gone else observation.revision,
        modified=observation.modified,
        observed=observation.observed,
        statements=statements.dump(observation.statements),
    )


def stored_entity(entity: source.Entity) -> StoredEntity:
    return StoredEntity(entity.id, entity.label, entity.aliases, entity.living)
