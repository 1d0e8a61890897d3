"""What was wanted at an instant, as the log has it: facts are never deleted, and each change of status is an event."""

from __future__ import annotations

from datetime import datetime
from typing import get_args

from sqlalchemy import and_, func, select

from state.fact_queries import ALL_FACTS, FACTS, FactQueries
from state.hash_chain import instant
from state.records import Fact, FactStatus
from state.transaction import EVENTS
from state.views import ERASED

STATUSES = tuple(f"fact.{status}" for status in get_args(FactStatus))
"""The kinds of events after which a fact has another status."""


class PastQueries(FactQueries):
    def wanted_at(self, at: datetime) -> tuple[Fact, ...]:
        """The facts that were wanted at `at`, sorted by key; their other columns are those of today.

        What an operator had forgotten since was erased, and is not among them.  Every event is read.
        """
        moved = and_(EVENTS.c.kind.in_(STATUSES), EVENTS.c.at <= instant(at))
        last = select(func.max(EVENTS.c.seq).label("seq")).where(moved).group_by(EVENTS.c.fact).subquery()
        wanted = (
            select(EVENTS.c.fact).join(last, EVENTS.c.seq == last.c.seq).where(EVENTS.c.kind == "fact.wanted")
        )
        found = self._facts(ALL_FACTS.where(FACTS.c.id.in_(wanted), FACTS.c.reason_code != ERASED))
        return tuple(sorted(found, key=lambda fact: fact.key))
