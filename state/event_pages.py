"""Pages of the audit log, newest first; where a time is asked for, by time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select, text, tuple_

from state.event_queries import EventFilter, EventQueries, meets, names_of, of_facts_of
from state.hash_chain import instant
from state.kinds_of_events import is_rare, is_rare_kind
from state.paging import EXAMINED, Page, cut, page_of, windows
from state.records import Event
from state.tables.audit import RARE
from state.transaction import EVENT, EVENTS, event_of

_NO_TIME = {"since": None, "until": None}


class EventPages(EventQueries):
    def events_page(self, chosen: EventFilter, limit: int = 50) -> Page[Event]:
        """Events that meet the filter, newest first; the next page is the same filter with `before`."""
        if chosen.since is not None or chosen.until is not None:
            return self._by_time(chosen, limit)
        if (seqs := _seqs(chosen)) is None:
            return self._in_log(chosen, limit)
        # The numbers are an expression, or SQLite would walk the whole log in its order to sort none.
        found = select(*EVENT).where(EVENTS.c.seq.in_(seqs), meets(chosen))
        rows = self._events(found.order_by((EVENTS.c.seq + 0).desc()).limit(limit + 1))
        return cut(rows, limit, lambda event: event.seq)

    def _in_log(self, chosen: EventFilter, limit: int) -> Page[Event]:
        """Looks through the log from its end, a part at a time."""
        head = int(self._value(select(func.max(EVENTS.c.seq))) or 0)
        before = head + 1 if chosen.before is None else min(chosen.before, head + 1)
        rows: tuple[Event, ...] = ()
        for size in windows(EXAMINED if chosen.actor is None else EXAMINED // 10):
            # One bound at either end, since SQLite uses one of several and need not take the narrowest.
            part = replace(chosen, after=max(chosen.after, before - size - 1), before=before)
            rows += self._events(
                select(*EVENT).where(meets(part)).order_by(EVENTS.c.seq.desc()).limit(limit + 1 - len(rows))
            )
            before -= size
            if len(rows) > limit:
                return page_of(rows, limit, rows[limit - 1].seq)
            if before <= max(1, chosen.after + 1):
                return page_of(rows, limit, None)
        return page_of(rows, limit, None, before)

    def _by_time(self, chosen: EventFilter, limit: int) -> Page[Event]:
        """In order of time and number, which is that of the index on times.

        A clock that was set back gives later events earlier times.
        """
        before, ends = chosen.before, None
        if before is not None:
            ends = self._value(select(EVENTS.c.at).where(EVENTS.c.seq == before))
        others = replace(chosen, since=None, until=None, before=None)
        is_all = others == EventFilter()
        rows: tuple[Event, ...] = ()
        for size in (limit + 1,) if is_all else windows(EXAMINED // 10):
            seqs = _within(chosen, ends, before).limit(size).subquery()
            found = select(*EVENT).join(seqs, seqs.c.seq == EVENTS.c.seq).where(meets(others))
            rows += self._events(
                found.order_by(EVENTS.c.at.desc(), EVENTS.c.seq.desc()).limit(limit + 1 - len(rows))
            )
            if len(rows) > limit:
                return page_of(rows, limit, rows[limit - 1].seq)
            last = self._rows(select(seqs.c.at, seqs.c.seq).offset(size - 1))
            if not last:
                return page_of(rows, limit, None)
            ends, before = last[0]
        return page_of(rows, limit, None, before)

    def _events(self, statement: Select[Any]) -> tuple[Event, ...]:
        return tuple(event_of(row) for row in self._rows(statement))


def _within(chosen: EventFilter, ends: str | None, before: int | None) -> Select[Any]:
    """Numbers and times of the events in the filter's time, newest first, from behind an event on."""
    conditions: list[ColumnElement[bool]] = []
    if chosen.since is not None:
        conditions.append(EVENTS.c.at >= instant(chosen.since))
    if chosen.until is not None:
        conditions.append(EVENTS.c.at < instant(chosen.until))
    if ends is not None:
        conditions.append(tuple_(EVENTS.c.at, EVENTS.c.seq) < tuple_(ends, before))
    elif before is not None:
        conditions.append(EVENTS.c.seq < before)
    columns = select(EVENTS.c.seq, EVENTS.c.at).where(*conditions)
    return columns.order_by(EVENTS.c.at.desc(), EVENTS.c.seq.desc())


def _seqs(chosen: EventFilter) -> Any | None:
    """Selects few numbers with all of the filter's among them, found by an index; None: there is none for this."""
    if chosen.fact is not None:
        return select(EVENTS.c.seq).where(EVENTS.c.fact == chosen.fact)
    if chosen.run is not None:
        return select(EVENTS.c.seq).where(EVENTS.c.run == chosen.run)
    if chosen.subject is not None:
        about = select(EVENTS.c.seq).where(of_facts_of(chosen.subject))
        return about.union_all(select(EVENTS.c.seq).where(text(RARE), names_of(chosen.subject)))
    if chosen.kind is not None and is_rare(chosen.kind):
        return select(EVENTS.c.seq).where(is_rare_kind(chosen.kind))
    return None
