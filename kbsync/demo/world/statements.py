"""The knowledge base's statements for a slot, and how one move changes them.

A real change does not overwrite: it is a new statement, and an end time on the old one.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date

from connectors.observations import Rank
from kbsync.demo.world.entries import WorldError, WorldFact, WorldMove

_IDS = uuid.UUID("6d1f0f5e-5d0c-4a57-9a55-3a8b7a1f2021")


@dataclass(frozen=True, slots=True)
class WorldStatement:
    """One statement."""

    id: str
    """As Wikibase writes it: the entity's own name, `$`, a UUID (derived from slot and position)."""
    subject: str
    relation: str
    object: str
    rank: Rank = "normal"
    start: date | None = None
    end: date | None = None
    reference: bool = True

    @property
    def current(self) -> bool:
        return self.end is None and self.rank != "deprecated"

    @property
    def fact(self) -> WorldFact:
        return WorldFact(self.subject, self.relation, self.object, self.start)


StatementsBySlot = dict[tuple[str, str], tuple[WorldStatement, ...]]


def first_statements(facts: Iterable[WorldFact]) -> StatementsBySlot:
    """One statement for each fact."""
    slots: StatementsBySlot = {}
    for fact in facts:
        before = slots.get(fact.slot, ())
        statement = WorldStatement(_id(fact.slot, len(before)), *fact.slot, fact.object, start=fact.start)
        slots[fact.slot] = (*before, statement)
    return slots


def moved(statements: tuple[WorldStatement, ...], move: WorldMove) -> tuple[WorldStatement, ...]:
    """The slot's statements after `move`.

    Raises WorldError if the move speaks of a current statement and there is not exactly one.
    """
    if move.do == "add":
        return (*statements, _new(statements, move))
    current = [statement for statement in statements if statement.current]
    if len(current) != 1:
        raise WorldError(
            f"{move.subject} {move.relation} at {move.at:%Y-%m-%d}: {move.do!r} needs one current statement, "
            f"there are {len(current)}"
        )
    old = current[0]
    if move.do == "end":
        if old.object != move.object:
            raise WorldError(
                f"{move.subject} {move.relation}: {move.object} is to end, but {old.object} holds it"
            )
        return _exchange(statements, old, replace(old, end=move.at.date()))
    if move.do == "replace":
        return _exchange(statements, old, replace(old, object=move.object, reference=move.reference))
    ended = replace(old, end=move.ended or move.at.date())
    return (*_exchange(statements, old, ended), _new(statements, move))


def _new(statements: tuple[WorldStatement, ...], move: WorldMove) -> WorldStatement:
    return WorldStatement(
        _id(move.slot, len(statements)),
        *move.slot,
        move.object,
        rank=move.rank,
        start=None if move.rank == "deprecated" else move.at.date(),
        reference=move.reference,
    )


def _exchange(
    statements: tuple[WorldStatement, ...], old: WorldStatement, new: WorldStatement
) -> tuple[WorldStatement, ...]:
    return tuple(new if statement is old else statement for statement in statements)


def _id(slot: tuple[str, str], position: int) -> str:
    subject, relation = slot
    return f"{subject.partition(':')[2]}${uuid.uuid5(_IDS, f'{subject} {relation} {position}')}"
