"""Looking facts up: by slot, by prompt, by object, by what they have in common; and what preceded one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, select, true

from state.errors import NotFound
from state.records import Decision, Fact, FactStatus, Probe, SlotKey
from state.tables import Facts, Probes, table
from state.transaction import EVENTS, SLOTS, Reader, chunks, columns_of

FACTS, PROBES = table(Facts), table(Probes)
FACT = columns_of(FACTS, Fact)
ALL_FACTS = select(*FACT).join_from(FACTS, SLOTS)

NEVER_WANTED = frozenset({"gone", "respelled", "erased"})
"""Reason codes of rows that are no former values of their slots: they were never wanted, or nothing is left of them."""


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


@dataclass(frozen=True, slots=True)
class FactFilter:
    """Conditions that a fact has to meet, all of them."""

    status: FactStatus | None = None
    relation: str | None = None
    subject: str | None = None
    source: str | None = None
    reason_code: str | None = None
    decision: Decision | None = None
    label: str | None = None
    """What the subject's label begins with."""


def meets(chosen: FactFilter, *, by_index: bool = True) -> ColumnElement[bool]:
    """Whether a fact meets the filter, but for the label.

    Without `by_index` no index serves the conditions: the rows are found by another one.
    """
    conditions = (
        (column if by_index else column + "") == value
        for item in fields(chosen)
        if item.name != "label" and (value := getattr(chosen, item.name)) is not None
        for column in [(SLOTS if item.name in ("relation", "subject") else FACTS).c[item.name]]
    )
    return and_(true(), *conditions)


def _begins(label: str, dialect: str) -> ColumnElement[bool]:
    """Whether the subject's label begins so, in a form for which the database uses the index on labels."""
    column = FACTS.c.subject_label
    if dialect == "postgresql":  # whose order of texts may be a language's: the index is by characters
        return column.startswith(label, autoescape=True)
    return and_(column >= label, column < f"{label}\U0010ffff")


class FactQueries(Reader):
    def fact(self, id: int) -> Fact:
        """Raises NotFound."""
        row = self._row(ALL_FACTS.where(FACTS.c.id == id))
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
        statement = ALL_FACTS.where(meets(FactFilter(status, relation, subject))).order_by(FACTS.c.id)
        if ids is None:
            return self._facts(statement.limit(limit).offset(offset))
        chosen = [
            fact
            for chunk in chunks(sorted(ids))
            for fact in self._facts(statement.where(FACTS.c.id.in_(chunk)))
        ]
        return tuple(chosen[offset:] if limit is None else chosen[offset : offset + limit])

    def chosen_facts(self, chosen: FactFilter, after: int = 0, limit: int | None = None) -> tuple[Fact, ...]:
        """Facts that meet the filter, by id, from the first above `after` on."""
        # With a label the ids are an expression, or SQLite would walk all facts in their order to sort none.
        id = FACTS.c.id if chosen.label is None else FACTS.c.id + 0
        statement = ALL_FACTS.where(meets(chosen), id > after)
        if chosen.label is not None:
            statement = statement.where(_begins(chosen.label, self.connection.dialect.name))
        return self._facts(statement.order_by(id).limit(limit))

    def facts_of(self, pairs: Iterable[SlotKey]) -> dict[SlotKey, tuple[Fact, ...]]:
        """Every fact the slots ever had, by id order."""
        found: dict[SlotKey, list[Fact]] = {}
        for chunk in chunks(pairs):
            for fact in self._facts(ALL_FACTS.where(self._named(chunk)).order_by(FACTS.c.id)):
                found.setdefault((fact.subject, fact.relation), []).append(fact)
        return {pair: tuple(facts) for pair, facts in found.items()}

    def find_by_prompt(self, prompt_key: str) -> tuple[Fact, ...]:
        """Facts whose pinned prompt is this one to the model, whatever their status."""
        return self._facts(ALL_FACTS.where(FACTS.c.prompt_key == prompt_key).order_by(FACTS.c.id))

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
            for fact in self._facts(ALL_FACTS.where(FACTS.c.prompt_key.in_(chunk))):
                if fact.status == "wanted":
                    found.setdefault(fact.prompt_key, []).append(fact)
        return {key: tuple(sorted(facts, key=lambda fact: fact.id)) for key, facts in found.items()}

    def slots_with_decisions_about(self, objects: Iterable[str]) -> set[SlotKey]:
        """Slots in which something was decided about one of these objects."""
        columns = select(SLOTS.c.subject, SLOTS.c.relation).join_from(FACTS, SLOTS)
        decided = columns.where(FACTS.c.decision.is_not(None))
        return {
            (row.subject, row.relation)
            for chunk in chunks(objects)
            for row in self._rows(decided.where(FACTS.c.object.in_(chunk)))
        }

    def slots_of_objects(self, objects: Iterable[str]) -> set[SlotKey]:
        """Slots in which one of these objects is wanted, held or doubted (its label may have changed)."""
        return {pair for pairs in self.holders_of_objects(objects).values() for pair in pairs}

    def holders_of_objects(self, objects: Iterable[str]) -> dict[str, frozenset[SlotKey]]:
        """For each of these objects the slots in which it is wanted, held or doubted."""
        columns = select(FACTS.c.object, SLOTS.c.subject, SLOTS.c.relation).join_from(FACTS, SLOTS)
        open_rows = columns.where(FACTS.c.status.in_(("wanted", "held", "quarantined")))
        found: dict[str, set[SlotKey]] = {}
        for chunk in chunks(objects):
            for row in self._rows(open_rows.where(FACTS.c.object.in_(chunk))):
                found.setdefault(row.object, set()).add((row.subject, row.relation))
        return {object: frozenset(pairs) for object, pairs in found.items()}

    def due(self, now: datetime) -> tuple[Fact, ...]:
        """Facts to be admitted again, longest overdue first: held ones whose time is over, and wanted
        ones whose value was known to end or to be retracted by now."""
        over = FACTS.c.held_until <= now
        return self._facts(ALL_FACTS.where(over).order_by(FACTS.c.held_until, FACTS.c.id))

    def wanted(self) -> tuple[Fact, ...]:
        """The set of facts that the next view is made of, sorted by key."""
        return tuple(
            sorted(self._facts(ALL_FACTS.where(FACTS.c.status == "wanted")), key=lambda fact: fact.key)
        )

    def probes(self, fact_id: int) -> tuple[Probe, ...]:
        columns = select(PROBES.c.kind, PROBES.c.prompt, PROBES.c.target, PROBES.c.name)
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
