"""Facts: what is wanted, was wanted, waits or is doubted; each move is a compare-and-set with its event."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select

from state.errors import NotFound, SlotTaken, StaleTransition
from state.records import Decision, Fact, FactStatus, Move, NewFact, Probe
from state.tables import Facts, Probes, table
from state.transaction import EVENTS, SLOTS, Note, Pair, Reader, Writer, chunks, columns_of

FACTS, PROBES = table(Facts), table(Probes)
FACT = columns_of(FACTS, Fact)
_ALL = select(*FACT).join_from(FACTS, SLOTS)
_OFFERED = tuple(item.name for item in fields(NewFact))
_STORED = tuple(column.name for column in FACT if column.table is FACTS)
_FIXED = ("id", "key", "subject_label", "object", "target", "template", "created")
"""A fact's identity, which the key covers: what differs in one of these is another fact."""
_MUTABLE = tuple(name for name in _STORED if name not in _FIXED)
_UNTOLD = ("subject_label", "template", "prompt_key", "status", "held_until", "priority", "since")
_TOLD = ("key", *(name for name in _OFFERED if name not in _UNTOLD))
"""What every event of a fact repeats of it."""

NEVER_WANTED = frozenset({"gone", "respelled"})
"""Reason codes of rows that waited and were never wanted: they are no former values of their slots."""


def previous_value(fact: Fact, slot: Iterable[Fact]) -> Fact | None:
    """What the slot held before `fact`: of its other facts the one that was superseded or retracted last.

    `slot` are the facts of the slot.  What left after `fact` came is not what `fact` replaced, nor is the
    same value in another template.
    """
    left = (
        old
        for old in slot
        if old.id != fact.id
        and old.status in ("superseded", "retracted")
        and old.reason_code not in NEVER_WANTED
        and (old.object, old.target) != (fact.object, fact.target)
        and old.updated <= fact.updated
    )
    return max(left, key=lambda old: (old.updated, old.id), default=None)


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
        source: str | None = None,
        reason_code: str | None = None,
        decision: Decision | None = None,
    ) -> tuple[Fact, ...]:
        """Facts by id order that meet every condition given."""
        statement = _ALL.order_by(FACTS.c.id)
        for column, value in (
            (FACTS.c.status, status),
            (SLOTS.c.relation, relation),
            (SLOTS.c.subject, subject),
            (FACTS.c.source, source),
            (FACTS.c.reason_code, reason_code),
            (FACTS.c.decision, decision),
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

    def count_wanted(self) -> dict[str, int]:
        """Wanted facts by relation."""
        counted = select(SLOTS.c.relation, func.count()).join_from(FACTS, SLOTS)
        rows = self._rows(counted.where(FACTS.c.status == "wanted").group_by(SLOTS.c.relation))
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

    def evidence(self, fact_ids: Iterable[int]) -> dict[int, dict[str, Any]]:
        """The evidence that these facts were last quarantined with (a gate's figures); without it, none."""
        found: dict[int, dict[str, Any]] = {}
        columns = select(EVENTS.c.fact, EVENTS.c.body).where(EVENTS.c.kind == "fact.quarantined")
        for chunk in chunks(fact_ids):
            for row in self._rows(columns.where(EVENTS.c.fact.in_(chunk)).order_by(EVENTS.c.seq)):
                if evidence := json.loads(row.body).get("evidence"):
                    found[row.fact] = evidence
        return found

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
            notes.append(_put_note(fact, old, slots.get(pair, ())))
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

    def attribute_facts(self, old: str, new: str, actor: str, *, limit: int) -> int:
        """Says of at most `limit` open facts of the source `old` that `new` states them; returns how many.

        Their status stays.  Facts that are superseded or retracted keep the name that was right then.
        """
        statement = _ALL.where(FACTS.c.source == old, FACTS.c.status.in_(("wanted", "held", "quarantined")))
        facts = self._facts(statement.order_by(FACTS.c.id).limit(limit))
        moved = [replace(fact, source=new) for fact in facts]
        self._rewrite(FACTS, _changed(moved))
        notes = [
            Note(f"fact.{fact.status}", _body(fact, before), fact=fact.id)
            for fact, before in zip(moved, facts, strict=True)
        ]
        self._log(actor, notes)
        return len(moved)

    def move_fact(
        self,
        id: int,
        to: FactStatus,
        reason: str,
        actor: str,
        *,
        expect: FactStatus | None = None,
        evidence: Mapping[str, Any] | None = None,
        reason_code: str = "",
    ) -> Fact:
        """Moves one fact; see `move_facts`."""
        move = Move(id, to, reason, expect, evidence=evidence, reason_code=reason_code)
        return self.move_facts([move], actor)[0]

    def decide(self, fact_id: int, decision: Decision, reason: str, actor: str) -> Fact:
        """Keeps what a reviewer said of one fact; see `decide_facts`."""
        return self.decide_facts([fact_id], decision, reason, actor)[0]

    def decide_facts(
        self, ids: Sequence[int], decision: Decision | None, reason: str, actor: str
    ) -> list[Fact]:
        """Keeps what a reviewer said of these facts; None takes back what was said before.

        What follows from it (a move) is the caller's next step.  Raises NotFound.
        """
        now, kind = self.clock(), decision or "reopened"
        before = {fact.id: fact for fact in self.facts(ids=ids)}
        if missing := [id for id in ids if id not in before]:
            raise NotFound("fact", missing[0])
        decided = None if decision is None else now
        after = [replace(before[id], decision=decision, decided=decided, updated=now) for id in ids]
        self._rewrite(FACTS, _changed(after))
        notes = []
        for fact in after:
            old = before[fact.id]
            body = {**_told(fact), "status": fact.status, "reason": reason, "decision_before": old.decision}
            notes.append(Note(f"fact.{kind}", body, fact=fact.id))
        self._log(actor, notes)
        return after

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
    return all(
        getattr(old, name) == getattr(item, name)
        for name in ("status", "reason_code", "reason", "held_until", "priority")
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


def _fact(item: NewFact, key: str, old: Fact | None, id: int, now: datetime) -> Fact:
    unchanged = old is not None and old.status == item.status
    since = item.since or (old.since if old is not None and unchanged else now)
    offered = {**{name: getattr(item, name) for name in _OFFERED}, "since": since}
    if old is not None:
        return replace(old, **offered, updated=now)
    return Fact(id=id, key=key, decision=None, decided=None, created=now, updated=now, **offered)


def _moved(old: Fact, move: Move, now: datetime) -> Fact:
    """The fact after the move; a new doubt voids an approval that was given before it arose."""
    doubted = move.to == "quarantined" and old.status != "quarantined" and old.decision == "approved"
    decision, decided = (None, None) if doubted else (old.decision, old.decided)
    if move.bars:
        decision, decided = "barred", now
    return replace(
        old,
        status=move.to,
        reason=move.reason,
        reason_code=move.reason_code,
        held_until=move.held_until,
        decision=decision,
        decided=decided,
        updated=now,
        since=old.since if old.status == move.to else now,
    )


def _put_note(fact: Fact, old: Fact | None, slot: Iterable[Fact]) -> Note:
    """The event of a fact that was written; one that is wanted also names the object it takes over from."""
    replaced = previous_value(fact, slot) if fact.status == "wanted" else None
    return Note(f"fact.{fact.status}", _body(fact, old, replaced=replaced), fact=fact.id)


def _told(fact: Fact) -> dict[str, Any]:
    return {name: getattr(fact, name) for name in _TOLD}


def _body(
    fact: Fact, old: Fact | None, *, replaced: Fact | None = None, evidence: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    body = {**_told(fact), "from": None if old is None else old.status, "to": fact.status}
    if fact.held_until is not None:
        body["held_until"] = fact.held_until
    if fact.decision is not None:
        body["decision"] = fact.decision
    if replaced is not None:
        body["old_object"], body["old_target"] = replaced.object, replaced.target
    if evidence is not None:
        body["evidence"] = evidence
    return body
