"""What was wanted at an instant, as the log has it: facts are never deleted, and each change of status is an event."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, get_args

from sqlalchemy import and_, func, select

from state.archives.cuts import Cut, cut_of
from state.archives.log import whole
from state.fact_queries import ALL_FACTS, FACTS, FactQueries
from state.hash_chain import instant
from state.records import Fact, FactStatus
from state.transaction import EVENTS, chunks
from state.views import ERASED

STATUSES = tuple(f"fact.{status}" for status in get_args(FactStatus))
"""The kinds of events after which a fact has another status."""


class PastQueries(FactQueries):
    def wanted_at(self, at: datetime) -> tuple[Fact, ...]:
        """The facts that were wanted at `at`, sorted by key; their other columns are those of today.

        What an operator had forgotten since was erased, and is not among them.  Every event is read; of a time before
        the log was cut, from the archive, which raises ArchiveMissing where a file is not there.
        """
        cut = cut_of(self.connection)
        if cut is not None and instant(at) < cut.before:
            ids = self._wanted_by_archive(at, cut)
            found = [fact for chunk in chunks(ids) for fact in self._not_erased(chunk)]
        else:
            moved = and_(EVENTS.c.kind.in_(STATUSES), EVENTS.c.at <= instant(at))
            last = select(func.max(EVENTS.c.seq).label("seq")).where(moved).group_by(EVENTS.c.fact).subquery()
            wanted = select(EVENTS.c.fact).join(last, EVENTS.c.seq == last.c.seq)
            found = list(self._not_erased(wanted.where(EVENTS.c.kind == "fact.wanted")))
        return tuple(sorted(found, key=lambda fact: fact.key))

    def _wanted_by_archive(self, at: datetime, cut: Cut) -> list[int]:
        """The ids of facts that were wanted at a time before the cut: archived events are read from their files."""
        wanted: dict[int, bool] = {}
        for row in whole(self.connection, self.archive, cut):
            if row["kind"] in STATUSES and row["at"] <= instant(at):
                wanted[row["fact"]] = row["kind"] == "fact.wanted"
        return [fact for fact, was in wanted.items() if was]

    def _not_erased(self, ids: Any) -> Iterable[Fact]:
        """The facts with these ids (a list, or a query) that were not erased."""
        return self._facts(ALL_FACTS.where(FACTS.c.id.in_(ids), FACTS.c.reason_code != ERASED))
