"""Facts: what is wanted, was wanted, waits or is doubted; each move is a compare-and-set with its event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import select

from state.errors import NotFound, SlotTaken, StaleTransition
from state.fact_queries import ALL_FACTS, FACT, FACTS, PROBES, FactQueries, previous_value
from state.records import Decision, Fact, FactStatus, Move, NewFact, Probe, SlotKey
from state.transaction import NewEvent, Writer, chunks

_OFFERED = tuple(item.name for item in fields(NewFact))
_STORED = tuple(column.name for column in FACT if column.table is FACTS)
_FIXED = ("id", "key", "subject_label", "object", "target", "template", "created")
"""A fact's identity, which the key covers: what differs in one of these is another fact."""
_MUTABLE = tuple(name for name in _STORED if name not in _FIXED)
_UNLOGGED = ("subject_label", "template", "prompt_key", "status", "held_until", "priority", "since")
LOGGED_COLUMNS = ("key", *(name for name in _OFFERED if name not in _UNLOGGED))
"""The columns that every event of a fact repeats."""


class FactTransitions(FactQueries, Writer):
    def put_facts(
        self, facts: Sequence[NewFact], actor: str, *, known: Mapping[SlotKey, Sequence[Fact]] | None = None
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
        self._rewrite_facts(moved)
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
            notes.append(NewEvent(f"fact.{move.to}", _body(fact, old, evidence=move.evidence), fact=fact.id))
        self._rewrite_facts(changed.values())
        self._log(actor, notes)
        return [changed[move.id] for move in moves]

    def attribute_facts(self, old: str, new: str, actor: str, *, limit: int) -> int:
        """Says of at most `limit` open facts of the source `old` that `new` states them; returns how many.

        Their status stays.  Facts that are superseded or retracted keep the name that was right then.
        """
        statement = ALL_FACTS.where(
            FACTS.c.source == old, FACTS.c.status.in_(("wanted", "held", "quarantined"))
        )
        facts = self._facts(statement.order_by(FACTS.c.id).limit(limit))
        moved = [replace(fact, source=new) for fact in facts]
        self._rewrite_facts(moved)
        notes = [
            NewEvent(f"fact.{fact.status}", _body(fact, before), fact=fact.id)
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
        """Records a reviewer's decision about one fact; see `decide_facts`."""
        return self.decide_facts([fact_id], decision, reason, actor)[0]

    def decide_facts(
        self, ids: Sequence[int], decision: Decision | None, reason: str, actor: str
    ) -> list[Fact]:
        """Records a reviewer's decision about these facts; None takes the last one back.

        What follows from it (a move) is the caller's next step.  Raises NotFound.
        """
        now, kind = self.clock(), decision or "reopened"
        before = {fact.id: fact for fact in self.facts(ids=ids)}
        if missing := [id for id in ids if id not in before]:
            raise NotFound("fact", missing[0])
        decided = None if decision is None else now
        after = [replace(before[id], decision=decision, decided=decided, updated=now) for id in ids]
        self._rewrite_facts(after)
        notes = []
        for fact in after:
            old = before[fact.id]
            body = {**_logged(fact), "status": fact.status, "reason": reason, "decision_before": old.decision}
            notes.append(NewEvent(f"fact.{kind}", body, fact=fact.id))
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
                    "name": probe.name,
                }
                for position, probe in enumerate(probes)
            ],
        )

    def _rewrite_facts(self, facts: Iterable[Fact]) -> None:
        """Writes what moved facts may change: those that leave `wanted` first, or the unique index would see two."""
        ordered = sorted(facts, key=lambda fact: fact.status == "wanted")
        slots = {
            row.id: row.slot
            for chunk in chunks(fact.id for fact in ordered)
            for row in self._rows(select(FACTS.c.id, FACTS.c.slot).where(FACTS.c.id.in_(chunk)))
        }
        changed = [{name: getattr(fact, name) for name in ("id", *_MUTABLE)} for fact in ordered]
        fixed = [
            {"slot": slots[fact.id], **{name: getattr(fact, name) for name in _FIXED}} for fact in ordered
        ]
        self._rewrite(FACTS, changed, fixed)

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


def _is_already(old: Fact, item: NewFact) -> bool:
    return all(
        getattr(old, name) == getattr(item, name)
        for name in ("status", "reason_code", "reason", "held_until", "priority")
    )


def _claim(wanted: dict[SlotKey, Fact], pair: SlotKey, item: NewFact, old: Fact | None) -> None:
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


def _put_note(fact: Fact, old: Fact | None, slot: Iterable[Fact]) -> NewEvent:
    """The event of a fact that was written; one that is wanted also names the object it takes over from."""
    replaced = previous_value(fact, slot) if fact.status == "wanted" else None
    return NewEvent(f"fact.{fact.status}", _body(fact, old, replaced=replaced), fact=fact.id)


def _logged(fact: Fact) -> dict[str, Any]:
    return {name: getattr(fact, name) for name in LOGGED_COLUMNS}


def _body(
    fact: Fact, old: Fact | None, *, replaced: Fact | None = None, evidence: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    body = {**_logged(fact), "from": None if old is None else old.status, "to": fact.status}
    if fact.held_until is not None:
        body["held_until"] = fact.held_until
    if fact.decision is not None:
        body["decision"] = fact.decision
    if replaced is not None:
        body["old_object"], body["old_target"] = replaced.object, replaced.target
    if evidence is not None:
        body["evidence"] = evidence
    return body
