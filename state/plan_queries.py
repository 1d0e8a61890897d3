"""The wanted facts that the planner has to see: not those that wait far behind what a base has room for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, literal, or_, select

from state.fact_queries import ALL_FACTS, FACTS, FactQueries
from state.records import Checkpoint, Fact
from state.views import BASE_ANSWERS, VIEW_FACTS, VIEWS


@dataclass(frozen=True, slots=True)
class WantedFacts:
    """The wanted facts on which a plan depends, and how many others there are."""

    facts: tuple[Fact, ...]
    """By key."""
    behind: int
    """Wanted facts that the base does not state and that come after more than it has room for."""


class PlanQueries(FactQueries):
    def wanted_to_plan(self, base: str, live: Checkpoint | None, capacity: int) -> WantedFacts:
        """The wanted facts without those of the lowest ranks, which no plan with that capacity has.

        Ranks are those of `planning.decide`: priority, then whether live states it, then how long it has been wanted.
        Left out is only what the base was asked about and does not state, and neither live nor the `capacity` first
        ones have, nor would replace what live has.  In a large ledger nearly everything that is wanted waits.
        """
        answer = and_(BASE_ANSWERS.c.base == base, BASE_ANSWERS.c.fact == FACTS.c.id)
        is_edit = exists().where(answer, ~BASE_ANSWERS.c.known)
        wanted = FACTS.c.status == "wanted"
        view = None if live is None else self._value(select(VIEWS.c.id).where(VIEWS.c.digest == live.view))
        edits = int(self._value(select(func.count()).select_from(FACTS).where(wanted, is_edit)))
        if edits <= 2 * capacity:
            return WantedFacts(self.wanted(), 0)
        first = select(FACTS.c.id).where(wanted, is_edit).order_by(*_rank(view)).limit(capacity)
        chosen = [or_(~is_edit, FACTS.c.id.in_(first), *_near(view))]
        facts = self._facts(ALL_FACTS.where(wanted, *chosen))
        behind = int(self._value(select(func.count()).select_from(FACTS).where(wanted))) - len(facts)
        return WantedFacts(tuple(sorted(facts, key=lambda fact: fact.key)), behind)


def _stated(view: int | None) -> ColumnElement[bool]:
    return exists().where(VIEW_FACTS.c.view == literal(view), VIEW_FACTS.c.fact == FACTS.c.id)


def _rank(view: int | None) -> Iterable[Any]:
    is_live = () if view is None else (_stated(view).desc(),)
    return (FACTS.c.priority.desc(), *is_live, FACTS.c.since, FACTS.c.key)


def _near(view: int | None) -> Iterable[ColumnElement[bool]]:
    """What live states, and what is wanted in the same slots."""
    if view is None:
        return ()
    stated = FACTS.alias()
    slots = select(stated.c.slot).join(VIEW_FACTS, VIEW_FACTS.c.fact == stated.c.id)
    return (FACTS.c.slot.in_(slots.where(VIEW_FACTS.c.view == view)),)
