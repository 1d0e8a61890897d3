"""The demo's world as a value, and what was true in it at a given time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cached_property
from typing import Any

from kbsync.demo.world.entries import (
    AwkwardCase,
    RelationWording,
    Trial,
    TrueChange,
    WorldEntity,
    WorldFact,
    WorldMove,
)
from kbsync.demo.world.statements import StatementsBySlot, first_statements, moved

DAY_ZERO = date(2021, 1, 1)
"""The day on which the facts hold and the small model's knowledge ends."""


@dataclass(frozen=True)
class DemoWorld:
    """The contents of all files."""

    entities: Mapping[str, WorldEntity]
    invented: Mapping[str, WorldEntity]
    """The invented objects of the second act; they occur nowhere else, so that no model has seen them."""
    wordings: Mapping[str, RelationWording]
    """By relation, `wdt:P36`."""
    facts_2021: tuple[WorldFact, ...]
    changes: tuple[TrueChange, ...]
    awkward: tuple[AwkwardCase, ...]
    trials: tuple[Trial, ...]

    def label(self, entity: str) -> str:
        return self.entity(entity).label

    def entity(self, entity: str) -> WorldEntity:
        """The entity, invented ones included; raises KeyError."""
        return self.entities[entity] if entity in self.entities else self.invented[entity]

    @cached_property
    def homonyms(self) -> Mapping[str, tuple[str, ...]]:
        """Labels that more than one entity has, with those entities."""
        of: dict[str, list[str]] = {}
        for entity in self.entities.values():
            of.setdefault(entity.label, []).append(entity.id)
        return {label: tuple(ids) for label, ids in of.items() if len(ids) > 1}

    @cached_property
    def moves(self) -> tuple[WorldMove, ...]:
        """The first act: all edits of the knowledge base up to the end of 2024, in order."""
        changes = [
            WorldMove(midnight(c.day), "succeed", *c.slot, c.object, ended=c.ended) for c in self.changes
        ]
        awkward = [move for case in self.awkward for move in case.moves]
        return tuple(sorted((*changes, *awkward), key=lambda move: (move.at, *move.slot)))

    @cached_property
    def second_act(self) -> tuple[WorldMove, ...]:
        """The edits that follow: six sound ones and six hopeless ones, in order."""
        return tuple(sorted((t.move for t in self.trials), key=lambda move: (move.at, *move.slot)))

    def statements(self, until: datetime) -> StatementsBySlot:
        """The knowledge base's statements at a given time, including ended and deprecated ones."""
        slots = first_statements(self.facts_2021)
        for move in (*self.moves, *self.second_act):
            if move.at <= until:
                slots[move.slot] = moved(slots.get(move.slot, ()), move)
        return slots

    def at(self, day: date) -> tuple[WorldFact, ...]:
        """The current facts at the end of `day`; a slot may have several."""
        slots = self.statements(datetime.combine(day, time.max, UTC))
        return tuple(held.fact for slot in slots.values() for held in slot if held.current)

    def relation_tables(self) -> dict[str, dict[str, Any]]:
        """The wordings as a relation catalogue writes them ([relations] of kbsync.toml)."""
        return {
            wording.id: {
                "label": wording.label,
                "single_valued": True,
                "subject_type": wording.subject_type,
                "templates": list(wording.templates),
                "enabled": True,
            }
            for wording in self.wordings.values()
        }


def midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
