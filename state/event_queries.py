"""Looking something up in the audit log: by time, by who, by what it is about, newest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, or_, select

from state.fact_queries import FACTS
from state.hash_chain import canonical, instant
from state.kinds_of_events import is_kind
from state.records import Event
from state.transaction import EVENT, EVENTS, SLOTS, Reader, event_of


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Conditions that an event has to meet, all of them."""

    after: int = 0
    """Only sequence numbers above this one."""
    before: int | None = None
    """Only sequence numbers below this one."""
    since: datetime | None = None
    until: datetime | None = None
    """Not this instant itself."""
    kind: str | None = None
    """May end in `*`."""
    actor: str | None = None
    """The actor as claimed, or the user that the operating system knows."""
    run: int | None = None
    fact: int | None = None
    subject: str | None = None
    """Events of this subject's facts, and those about its own names and prompts."""


class EventQueries(Reader):
    def recent_events(self, chosen: EventFilter, limit: int | None = None) -> list[Event]:
        """Events by sequence number, newest first."""
        statement = select(*EVENT).where(meets(chosen)).order_by(EVENTS.c.seq.desc()).limit(limit)
        return [event_of(row) for row in self._rows(statement)]

    def count_events(self, chosen: EventFilter) -> int:
        """How many there are."""
        return int(self._value(select(func.count()).select_from(EVENTS).where(meets(chosen))))


def meets(chosen: EventFilter) -> ColumnElement[bool]:
    """Whether an event meets the filter."""
    return and_(EVENTS.c.seq > chosen.after, *_conditions(chosen))


def _conditions(chosen: EventFilter) -> Iterator[ColumnElement[bool]]:
    if chosen.before is not None:
        yield EVENTS.c.seq < chosen.before
    # Instants are stored as text of one width, in UTC: text order is time order.
    if chosen.since is not None:
        yield EVENTS.c.at >= instant(chosen.since)
    if chosen.until is not None:
        yield EVENTS.c.at < instant(chosen.until)
    if chosen.kind is not None:
        yield is_kind(chosen.kind)
    if chosen.actor is not None:
        user = f'"os_user":"{canonical(chosen.actor)[1:-1]} (uid '
        yield or_(EVENTS.c.actor == chosen.actor, EVENTS.c.body.contains(user, autoescape=True))
    if chosen.run is not None:
        yield EVENTS.c.run == chosen.run
    if chosen.fact is not None:
        yield EVENTS.c.fact == chosen.fact
    if chosen.subject is not None:
        yield or_(of_facts_of(chosen.subject), names_of(chosen.subject))


def of_facts_of(subject: str) -> ColumnElement[bool]:
    """Whether an event is about a fact of this subject."""
    slots = select(SLOTS.c.id).where(SLOTS.c.subject == subject)
    return EVENTS.c.fact.in_(select(FACTS.c.id).where(FACTS.c.slot.in_(slots)))


def names_of(subject: str) -> ColumnElement[bool]:
    """Whether an event is about the subject's own names and prompts."""
    spelled = canonical(subject)
    named = (EVENTS.c.body.contains(f'"{name}":{spelled}', autoescape=True) for name in ("id", "subject"))
    return and_(EVENTS.c.kind.in_(("entity.relabelled", "slot.rerendered")), or_(*named))
