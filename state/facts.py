"""Facts: what is wanted, was wanted, waits or is doubted; each move is a compare-and-set with its event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select

from state.errors import NotFound, SlotTaken, StaleTransition
from state.records import Decision, Fact, FactStatus, Move, NewFact, Probe
from state.tables import Facts, Probes, table
from state.transaction import SLOTS, Note, Pair, Reader, Writer, chunks, columns_of

FACTS, PROBES = table(Facts), table(Probes)
FACT = columns_of(FACTS, Fact)
_ALL = select(*FACT).join_from(FACTS, SLOTS)
_OFFERED = tuple(item.name for item in fields(NewFact))
_STORED = tuple(column.name for column in FACT if column.table is FACTS)
_MUTABLE = (
    "status",
    "reason",
    "source",
    "revision",
    "statement",
    "held_until",
    "priority",
    "updated",
    "decision",
)
"""What a move may change; the rest of a fact is its identity."""


class FactQueries(Reader):
    def fact(self, id: int) -> Fact:
        """Raises NotFound."""
        row = self._row(_ALL.where(FACTS.c.id == id))
        if row is None:
            raise NotFound("fact", id)
        return Fact(*row)

    def facts(
        self,
        status: FactStatus | None = None,
        relation: str | None = None,
        subject: str | None = None,
        ids: Iterable[int] | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> tuple[Fact, ...]:
        """Facts by id order that meet every condition given."""
        statement = _ALL.order_by(FACTS.c.id)
        for column, value in (
            (FACTS.c.status, status),
            (SLOTS.c.relation, relation),
            (SLOTS.c.subject, subject),
        ):
            if value is not None:
                statement = statement.where(column == value)
        if ids is None:
            return self._facts(statement.limit(limit).offset(offset))
        chosen = [
            fact
            for chunk in chunks(sorted(ids))
            for fact in self._facts(statement.where(FACTS.c.id.in_(chunk)))
        ]
        return tuple(chosen[offset:] if limit is None else chosen[offset : offset + limit])

    def facts_of(self, pairs: Iterable[Pair]) -> dict[Pair, tuple[Fact, ...]]:
        """Every fact the slots ever had, by id order."""
        found: dict[Pair, list[Fact]] = {}
        for chunk in chunks(pairs):
            for fact in self._facts(_ALL.where(self._named(chunk)).order_by(FACTS.c.id)):
                found.setdefault((fact.subject, fact.relation), []).append(fact)
        return {pair: tuple(facts) for pair, facts in found.items()}

    def find_by_prompt(self, prompt_key: str) -> tuple[Fact, ...]:
        """Facts whose pinned prompt is this one to the model, whatever their status."""
        return self._facts(_ALL.where(FACTS.c.prompt_key == prompt_key).order_by(FACTS.c.id))

    def count_facts(self) -> dict[FactStatus, int]:
        rows = self._rows(select(FACTS.c.status, func.count()).group_by(FACTS.c.status))
        return {row[0]: row[1] for row in rows}

    def wanted_with_prompt_keys(self, keys: Iterable[str]) -> dict[str, tuple[Fact, ...]]:
        """Wanted facts by their pinned prompt, which may be older than what the slot renders to now.

        Asked for by prompt alone: given the status as well, SQLite walks everything that is wanted.
        """
        found: dict[str, list[Fact]] = {}
        for chunk in chunks(keys):
            for fact in self._facts(_ALL.where(FACTS.c.prompt_key.in_(chunk))):
                if fact.status == "wanted":
                    found.setdefault(fact.prompt_key, []).append(fact)
        return {key: tuple(sorted(facts, key=lambda fact: fact.id)) for key, facts in found.items()}

    def slots_of_objects(self, objects: Iterable[str]) -> set[Pair]:
        """Slots in which one of these objects is wanted, held or doubted (its label may have changed)."""
        return {pair for pairs in self.holders_of_objects(objects).values() for pair in pairs}

    def holders_of_objects(self, objects: Iterable[str]) -> dict[str, frozenset[Pair]]:
        """For each of these objects the slots in which it is wanted, held or doubted."""
        columns = select(FACTS.c.object, SLOTS.c.subject, SLOTS.c.relation).join_from(FACTS, SLOTS)
        open_rows = columns.where(FACTS.c.status.in_(("wanted", "held", "quarantined")))
        found: dict[str, set[Pair]] = {}
        for chunk in chunks(objects):
            for row in self._rows(open_rows.where(FACTS.c.object.in_(chunk))):
                found.setdefault(row.object, set()).add((row.subject, row.relation))
        return {object: frozenset(pairs) for object, pairs in found.items()}

    def due(self, now: datetime) -> tuple[Fact, ...]:
        """Facts to be admitted again, longest overdue first: held ones whose time is over, and wanted
        ones whose value was known to end or to be retracted by now."""
        over = FACTS.c.held_until <= now
        return self._facts(_ALL.where(over).order_by(FACTS.c.held_until, FACTS.c.id))

    def wanted(self) -> tuple[Fact, ...]:
        """The set of facts that the next view is made of, sorted by key."""
        return tuple(sorted(self._facts(_ALL.where(FACTS.c.status == "wanted")), key=lambda fact: fact.key))

    def probes(self, fact_id: int) -> tuple[Probe, ...]:
        columns = select(PROBES.c.kind, PROBES.c.prompt, PROBES.c.target)
        rows = self._rows(columns.where(PROBES.c.fact == fact_id).order_by(PROBES.c.position))
        return tuple(Probe(*row) for row in rows)

    def _facts(self, statement: Select[Any]) -> tuple[Fact, ...]:
        return tuple(Fact(*row) for row in self._rows(statement))


class FactTransitions(FactQueries, Writer):
    def put_facts(
        self, facts: Sequence[NewFact], actor: str, *, known: Mapping[Pair, Sequence[Fact]] | None = None
    ) -> list[Fact]:
        """Writes facts by key and returns their rows in the same order.

        A key that exists is the same fact coming back: its row moves to the new status with the new
        provenance.  A row that already is what is asked for stays as it is, without an event.
        `known`: all rows of the facts' slots as they are in this transaction, to spare reading them.
        Raises SlotTaken where the slot wants another object: the caller moves that one first.
        """
        pairs = dict.fromkeys((fact.subject, fact.relation) for fact in facts)
        slots = self.facts_of(pairs) if known is None else {pair: known.get(pair, ()) for pair in pairs}
        ledger = {old.key: old for olds in slots.values() for old in olds}
        wanted = {pair: old for pair, olds in slots.items() for old in olds if old.status == "wanted"}
        last = {pair: _last_moved(olds) for pair, olds in slots.items()}
        next_id, now = self._next_id(FACTS), self.clock()
        new: list[Fact] = []
        moved: list[Fact] = []
        notes = []
        keys = [item.key for item in facts]
        for item, key in zip(facts, keys, strict=True):
            pair, old = (item.subject, item.relation), ledger.get(key)
            if old is not None and _is_already(old, item):
                continue
            _claim(wanted, pair, item, old)
            fact = _fact(item, key, old, next_id + len(new), now)
            (new if old is None else moved).append(fact)
            notes.append(_put_note(fact, old, replaced=last.get(pair)))
            ledger[fact.key] = fact
            if fact.status == "wanted":
                wanted[pair] = fact
        ids = self._slot_ids((fact.subject, fact.relation) for fact in new)
        self._insert(FACTS, [_values(fact, ids[(fact.subject, fact.relation)]) for fact in new])
        self._rewrite(FACTS, _changed(moved))
        self._log(actor, notes)
        return [ledger[key] for key in keys]

    def move_facts(
        self, moves: Sequence[Move], actor: str, *, known: Iterable[Fact] | None = None
    ) -> list[Fact]:
        """Moves facts in order; all or (by rolling back) none.

        `known`: at least these facts as they are in this transaction, to spare reading them.
        Raises NotFound, StaleTransition where `expect` is given and differs, SlotTaken.
        """
        rows = self.facts(ids=[move.id for move in moves]) if known is None else known
        stored = {fact.id: fact for fact in rows}
        now = self.clock()
        self._check_slots(stored, moves)
        changed: dict[int, Fact] = {}
        notes = []
        for move in moves:
            old = stored.get(move.id)
            if old is None:
                raise NotFound("fact", move.id)
            if move.expect is not None and old.status != move.expect:
                raise StaleTransition("fact", old.id, move.expect, old.status, move.to)
            fact = changed[old.id] = stored[old.id] = _moved(old, move, now)
            notes.append(Note(f"fact.{move.to}", _body(fact, old, evidence=move.evidence), fact=fact.id))
        self._rewrite(FACTS, _changed(changed.values()))
        self._log(actor, notes)
        return [changed[move.id] for move in moves]

    def move_fact(
        self,
        id: int,
        to: FactStatus,
        reason: str,
        actor: str,
        *,
        expect: FactStatus | None = None,
        held_until: datetime | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> Fact:
        """Moves one fact; see `move_facts`."""
        kept = None if evidence is None else dict(evidence)
        return self.move_facts([Move(id, to, reason, expect, held_until, kept)], actor)[0]

    def decide(self, fact_id: int, decision: Decision, reason: str, actor: str) -> Fact:
        """Keeps what a reviewer said; what follows from it (a move) is the caller's next step."""
        fact = self.fact(fact_id)
        self._update(FACTS, FACTS.c.id == fact_id, decision=decision, updated=self.clock())
        self._log(actor, [Note(f"fact.{decision}", {"status": fact.status, "reason": reason}, fact=fact_id)])
        return self.fact(fact_id)

    def put_probes(self, fact_id: int, probes: Sequence[Probe]) -> None:
        """Replaces what is checked not to move when the fact is edited."""
        self._delete(PROBES, PROBES.c.fact == fact_id)
        self._insert(
            PROBES,
            [
                {
                    "fact": fact_id,
                    "position": position,
                    "kind": probe.kind,
                    "prompt": probe.prompt,
                    "target": probe.target,
                }
                for position, probe in enumerate(probes)
            ],
        )

    def _check_slots(self, stored: Mapping[int, Fact], moves: Sequence[Move]) -> None:
        """Raises SlotTaken if, after the moves, a slot would want two objects."""
        final = {move.id: move.to for move in moves}
        claimed = [stored[id] for id, to in final.items() if to == "wanted" and id in stored]
        slots = self.facts_of((fact.subject, fact.relation) for fact in claimed)
        for fact in claimed:
            for other in slots[(fact.subject, fact.relation)]:
                if other.id != fact.id and final.get(other.id, other.status) == "wanted":
                    raise SlotTaken(fact.subject, fact.relation, other.object, fact.object)


def _values(fact: Fact, slot: int) -> dict[str, Any]:
    return {"slot": slot, **{name: getattr(fact, name) for name in _STORED}}


def _changed(facts: Iterable[Fact]) -> list[dict[str, Any]]:
    """What is written of moved facts: those that leave `wanted` first, or the unique index would see two."""
    ordered = sorted(facts, key=lambda fact: fact.status == "wanted")
    return [{name: getattr(fact, name) for name in ("id", *_MUTABLE)} for fact in ordered]


def _is_already(old: Fact, item: NewFact) -> bool:
    return (old.status, old.reason, old.held_until, old.priority) == (
        item.status,
        item.reason,
        item.held_until,
        item.priority,
    )


def _claim(wanted: dict[Pair, Fact], pair: Pair, item: NewFact, old: Fact | None) -> None:
    """Raises SlotTaken if `item` would be a second wanted object; forgets a wanted fact that moves away."""
    holder = wanted.get(pair)
    if holder is None:
        return
    if old is not None and holder.id == old.id:
        del wanted[pair]
    elif item.status == "wanted":
        raise SlotTaken(*pair, holder.object, item.object)


def _last_moved(olds: Sequence[Fact]) -> Fact | None:
    """The slot's former object: what is wanted, or else what was moved away last."""
    former = [old for old in olds if old.status in ("wanted", "superseded", "retracted")]
    return max(former, key=lambda old: (old.status == "wanted", old.updated, old.id), default=None)


def _fact(item: NewFact, key: str, old: Fact | None, id: int, now: datetime) -> Fact:
    if old is not None:
        return replace(
            old,
            status=item.status,
            reason=item.reason,
            source=item.source,
            revision=item.revision,
            statement=item.statement,
            held_until=item.held_until,
            priority=item.priority,
            updated=now,
        )
    offered = {name: getattr(item, name) for name in _OFFERED}
    return Fact(id=id, key=key, decision=None, created=now, updated=now, **offered)


def _moved(old: Fact, move: Move, now: datetime) -> Fact:
    """The fact after the move; a new doubt voids an approval that was given before it arose."""
    doubted = move.to == "quarantined" and old.status != "quarantined" and old.decision == "approved"
    return replace(
        old,
        status=move.to,
        reason=move.reason,
        held_until=move.held_until,
        decision=None if doubted else old.decision,
        updated=now,
    )


def _put_note(fact: Fact, old: Fact | None, replaced: Fact | None) -> Note:
    """The event of a fact that was written; one that is wanted also names the object it takes over from."""
    former = (
        replaced if fact.status == "wanted" and replaced is not None and replaced.key != fact.key else None
    )
    return Note(f"fact.{fact.status}", _body(fact, old, replaced=former), fact=fact.id)


def _body(
    fact: Fact, old: Fact | None, *, replaced: Fact | None = None, evidence: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "from": None if old is None else old.status,
        "to": fact.status,
        "reason": fact.reason,
        "key": fact.key,
        "subject": fact.subject,
        "relation": fact.relation,
        "object": fact.object,
        "target": fact.target,
        "source": fact.source,
        "revision": fact.revision,
        "statement": fact.statement,
    }
    if fact.held_until is not None:
        body["held_until"] = fact.held_until
    if replaced is not None:
        body["old_object"], body["old_target"] = replaced.object, replaced.target
    if evidence is not None:
        body["evidence"] = evidence
    return body
