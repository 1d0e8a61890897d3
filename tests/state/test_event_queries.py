"""Events are found by time, actor and subject, newest first, on both databases."""

from __future__ import annotations

from state import State
from state.event_queries import EventFilter
from state.records import Slot, StoredEntity
from tests.support.ledgers import START, Clock, fact


def seen(state: State, chosen: EventFilter, limit: int | None = None) -> list[int]:
    with state.read() as tx:
        return [event.seq for event in tx.recent_events(chosen, limit)]


def told(state: State, clock: Clock) -> None:
    with state.write() as tx:
        tx.put_facts([fact("wd:Q1"), fact("wd:Q10")], "admission")  # 1, 2
    clock.now = START.replace(hour=6)
    with state.write() as tx:
        tx.decide(1, "rejected", "no", "ada%_")  # 3
        tx.put_entities([StoredEntity("wd:Q1", "One")])
        tx.put_entities([StoredEntity("wd:Q1", "Uno")])  # 4
        tx.put_slots([Slot("wd:Q1", "wdt:P6", "One", "The head of {} is", "k")])
        tx.put_slots([Slot("wd:Q1", "wdt:P6", "Uno", "The head of {} is", "l")])  # 5


def test_newest_first_and_by_page(state: State, clock: Clock) -> None:
    told(state, clock)
    assert seen(state, EventFilter()) == [5, 4, 3, 2, 1]
    assert seen(state, EventFilter(), 2) == [5, 4]
    assert seen(state, EventFilter(before=4), 2) == [3, 2]
    assert seen(state, EventFilter(after=3)) == [5, 4]
    with state.read() as tx:
        assert tx.count_events(EventFilter(before=4)) == 3


def test_by_time(state: State, clock: Clock) -> None:
    told(state, clock)
    noon = START.replace(hour=5)
    assert seen(state, EventFilter(since=noon)) == [5, 4, 3]
    assert seen(state, EventFilter(until=noon)) == [2, 1]


def test_by_kind_and_actor_taken_literally(state: State, clock: Clock) -> None:
    told(state, clock)
    assert seen(state, EventFilter(actor="ada%_")) == [3]
    assert seen(state, EventFilter(actor="%")) == []
    assert seen(state, EventFilter(kind="fact.*")) == [3, 2, 1]
    assert seen(state, EventFilter(kind="fact")) == []


def test_by_subject_with_its_names(state: State, clock: Clock) -> None:
    told(state, clock)
    assert seen(state, EventFilter(subject="wd:Q1")) == [5, 4, 3, 1]
    assert seen(state, EventFilter(subject="wd:Q10")) == [2]
    assert seen(state, EventFilter(subject="wd:Q")) == []
