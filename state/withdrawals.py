"""What a view states although it is not wanted any more: retracted, rejected, quarantined or superseded since."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select

from state.checkpoints import CHECKPOINTS
from state.fact_queries import FACT, FACTS
from state.records import Fact
from state.transaction import SLOTS, Reader
from state.views import BASE_ANSWERS, VIEW_FACTS, VIEWS


class WithdrawalQueries(Reader):
    def newly_unwanted(self, view: str, base: str, live: str | None) -> tuple[Fact, ...]:
        """Facts that `view` would add to the view `live` (None: to nothing) and that are not wanted any more.

        A fact that the base itself states is no edit: it does not count, unless `has_derived(view, base)`.
        """
        fact = self._unwanted(view, base)
        if live is not None:
            stated = select(VIEW_FACTS.c.fact).join(VIEWS, VIEW_FACTS.c.view == VIEWS.c.id)
            fact = fact.where(FACTS.c.id.not_in(stated.where(VIEWS.c.digest == live)))
        return tuple(Fact(*row) for row in self._rows(fact))

    def withdrawn(self, view: str, base: str) -> tuple[Fact, ...]:
        """Edited facts of `view` that are not wanted any more, and whose slot wants nothing else either.

        One that has a successor is not withdrawn: it stays until its successor takes its place.
        """
        other = FACTS.alias()
        successor = select(other.c.id).where(other.c.slot == FACTS.c.slot, other.c.status == "wanted")
        return tuple(Fact(*row) for row in self._rows(self._unwanted(view, base).where(~successor.exists())))

    def has_derived(self, view: str, base: str) -> bool:
        """Whether a checkpoint of this view may be edited with what follows from its facts.

        Then every fact of the view counts as an edit: what was derived from it has to leave with it.
        """
        rows = self._rows(
            select(CHECKPOINTS.c.recipe).where(CHECKPOINTS.c.view == view, CHECKPOINTS.c.base == base)
        )
        recipes = (json.loads(row.recipe) for row in rows if row.recipe)
        return any(one["plan"].get("consequences") == "edit" for one in recipes)

    def _unwanted(self, view: str, base: str) -> Any:
        """Select the facts of a view that are not wanted and count as edits, by id."""
        joined = VIEWS.join(VIEW_FACTS, VIEW_FACTS.c.view == VIEWS.c.id).join(FACTS).join(SLOTS)
        known = select(BASE_ANSWERS.c.fact).where(
            BASE_ANSWERS.c.base == base, BASE_ANSWERS.c.fact == FACTS.c.id, BASE_ANSWERS.c.known
        )
        unwanted = (VIEWS.c.digest == view) & (FACTS.c.status != "wanted")
        if not self.has_derived(view, base):
            unwanted &= ~known.exists()
        return select(*FACT).select_from(joined).where(unwanted).order_by(FACTS.c.id)
