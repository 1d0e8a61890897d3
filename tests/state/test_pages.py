"""Lists by pages: complete, without repetitions while others write, and read by an index on both databases."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state import Snapshot, State, event_pages, fact_pages
from state.event_queries import EventFilter
from state.fact_queries import FactFilter
from state.records import Event, Fact, FactStatus, NewFact
from tests.support.ledgers import START, Clock, fact
from tests.support.plans import listening, walks
from tests.support.plans import plans as plans_of

STATUSES: tuple[FactStatus, ...] = ("wanted", "held", "quarantined", "retracted", "superseded")
FILTERS = [
    FactFilter(),
    FactFilter("wanted"),
    FactFilter(source="erp"),
    FactFilter("held", source="crm"),
    FactFilter(reason_code="a"),
    FactFilter(relation="wdt:P6"),
    FactFilter("quarantined", relation="wdt:P36", reason_code="b"),
    FactFilter(label="Label of wd:Q1"),
    FactFilter("wanted", label="Label of", source="crm"),
    FactFilter(subject="wd:Q1"),
    FactFilter("wanted", reason_code="a", source="erp", relation="wdt:P6", subject="wd:Q3"),
    FactFilter("quarantined", decision="rejected"),
]


def made(number: int) -> NewFact:
    """One of very different facts, of subjects that several have."""
    one = fact(
        f"wd:Q{number * 7 % 23}",
        f"wd:V{number}",
        "superseded" if number % 5 == 4 else STATUSES[number % 3 + 1],
        relation=("wdt:P6", "wdt:P36", "wdt:P1")[number % 3],
    )
    return replace(one, source=("crm", "erp")[number % 2], reason_code="ab"[number // 3 % 2])


def meets(one: Fact, chosen: FactFilter) -> bool:
    values = (
        (getattr(chosen, name), getattr(one, name))
        for name in ("status", "relation", "subject", "source", "reason_code", "decision")
    )
    return all(wanted in (None, value) for wanted, value in values) and one.subject_label.startswith(
        chosen.label or ""
    )


@contextmanager
def small_steps() -> Iterator[None]:
    """Whatever is looked through is looked through in parts of a few rows, and nothing counts as few."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (fact_pages, event_pages):
            patch.setattr(module, "windows", lambda *size: iter((2, 5)))
        patch.setattr(fact_pages, "FEW", 0)
        yield


def walked(state: State, chosen: FactFilter, limit: int, between: Callable[[], None]) -> list[Fact]:
    found: list[Fact] = []
    after: int | None = 0
    for _ in range(2_000):
        with state.read() as tx:
            page = tx.facts_page(chosen, after, limit)
        assert len(page.rows) <= limit
        found += page.rows
        if page.next is None:
            return found
        after = page.next
        between()
    raise AssertionError("the list does not end")


def check_facts(new_url, chosen: FactFilter, limit: int, before: int, batches: list[int]) -> None:
    state = State.open(new_url("sqlite"), Clock())
    numbers = itertools.count()
    with state.write() as tx:
        tx.put_facts([made(next(numbers)) for _ in range(before)], "test")
        rejected = [one.id for one in tx.facts() if one.status == "quarantined"][::2]
        tx.decide_facts(rejected, "rejected", "no", "ada")
    with state.read() as tx:
        there = {one.id for one in tx.facts() if meets(one, chosen)}
    later = iter(batches)

    def between() -> None:
        with state.write() as tx:
            tx.put_facts([made(next(numbers)) for _ in range(next(later, 0))], "test")

    with small_steps():
        found = walked(state, chosen, limit, between)
    state.close()
    ids = [one.id for one in found]
    assert len(ids) == len(set(ids))
    assert there <= set(ids)
    assert all(meets(one, chosen) for one in found)
    order = [(one.subject_label, one.id) if chosen.label is not None else (one.id,) for one in found]
    assert order == sorted(order)


CASES = st.tuples(
    st.sampled_from(FILTERS),
    st.integers(1, 12),
    st.integers(0, 60),
    st.lists(st.integers(0, 6), max_size=12),
)


@settings(max_examples=12, deadline=None)
@given(case=CASES)
def test_every_fact_is_on_one_page_while_others_are_written(new_url, case) -> None:
    check_facts(new_url, *case)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(case=CASES)
def test_every_fact_is_on_one_page_in_hundreds_of_cases(new_url, case) -> None:
    check_facts(new_url, *case)


@pytest.mark.thorough
@settings(max_examples=2_000, deadline=None)
@given(case=CASES)
def test_every_fact_is_on_one_page_in_thousands_of_cases(new_url, case) -> None:
    check_facts(new_url, *case)


EVENT_FILTERS = [
    EventFilter(),
    EventFilter(kind="fact.wanted"),
    EventFilter(kind="fact.*"),
    EventFilter(kind="daemon.*"),
    EventFilter(kind="daemon.paused"),
    EventFilter(actor="ada"),
    EventFilter(subject="wd:Q1"),
    EventFilter(fact=3),
    EventFilter(after=4),
    EventFilter(since=START + timedelta(seconds=4)),
    EventFilter(until=START + timedelta(seconds=40), kind="fact.*"),
    EventFilter(since=START, until=START + timedelta(seconds=30), actor="ada"),
]


@settings(max_examples=12, deadline=None)
@given(
    chosen=st.sampled_from(EVENT_FILTERS),
    limit=st.integers(1, 9),
    jumps=st.lists(st.sampled_from([0, 0, 3, 60, -45]), min_size=1, max_size=40),
)
def test_every_event_is_on_one_page_whatever_the_clock_did(new_url, chosen, limit, jumps) -> None:
    clock = Clock()
    state = State.open(new_url("sqlite"), clock)
    for number, jump in enumerate(jumps):
        clock.now = max(START, clock.now + timedelta(seconds=jump))
        with state.write() as tx:
            tx.put_facts([made(number)], ("test", "ada")[number % 2])
            if number % 4 == 0:
                tx.emit("daemon.paused" if number % 8 else "daemon.resumed", "ada", {"reason": "so"})
    with state.read() as tx:
        expected = {one.seq for one in tx.recent_events(chosen)}
    found: list[Event] = []
    with small_steps():
        before: int | None = None
        while True:
            with state.read() as tx:
                page = tx.events_page(replace(chosen, before=before), limit)
            found += page.rows
            if page.next is None:
                break
            before = page.next
            with state.write() as tx:
                tx.emit("source.unavailable", "connector", {"source": "late"})
    state.close()
    seqs = [one.seq for one in found]
    assert len(seqs) == len(set(seqs))
    assert expected <= set(seqs)
    assert seqs == sorted(seqs, reverse=True) or chosen.since is not None or chosen.until is not None


ASKED: list[Callable[[Snapshot], object]] = [
    *(lambda tx, one=one: tx.facts_page(one, 7, 50) for one in FILTERS),
    *(lambda tx, one=one: tx.events_page(replace(one, before=90), 50) for one in EVENT_FILTERS),
    lambda tx: tx.facts_page(FactFilter(label="Label of wd:Q1", status="wanted")),
    lambda tx: tx.runs(30, before=9),
    lambda tx: tx.runs(30, "failed", before=9),
    lambda tx: tx.open_runs(),
    lambda tx: tx.last_gate_results([1, 2]),
    lambda tx: tx.checkpoints_before(9, 30),
    lambda tx: (tx.live(), tx.previous(), tx.head()),
    lambda tx: tx.views(["a" * 64, "b" * 64]),
    lambda tx: tx.members("a" * 64, [1, 2, 3]),
    lambda tx: tx.facts_not_in("a" * 64, "b" * 64),
    lambda tx: tx.provenance(1),
    lambda tx: tx.evidence([1, 2, 3]),
    lambda tx: tx.find_by_prompt("k"),
    lambda tx: tx.current([("wd:Q1", "wdt:P6")]),
    lambda tx: tx.relations(),
    lambda tx: tx.base_answers("a" * 64, [1, 2]),
    lambda tx: tx.open_requests(),
]
COUNTED: list[Callable[[Snapshot], object]] = [
    lambda tx: tx.count_facts(),
    lambda tx: tx.count_source_facts(),
    lambda tx: tx.count_watched(),
    lambda tx: tx.count_waiting(),
    lambda tx: tx.count_waiting_for("volume"),
    lambda tx: tx.count_pending(None),
    lambda tx: tx.subject_prefixes(),
    lambda tx: tx.count_wanted_of("wdt:P6"),
]


def plans(state: State, asked: Callable[[Snapshot], object]) -> list[str]:
    """The plan of every statement that is sent, a line each step."""
    with state.read() as tx:
        with listening(tx.connection) as sent:
            asked(tx)
        found = plans_of(tx.connection, list(sent))
    assert found
    return found


def filled(state: State) -> None:
    with state.write() as tx:
        tx.put_facts([made(number) for number in range(300)], "test")


@pytest.mark.parametrize("analysed", [False, True])
def test_no_page_reads_a_growing_table_from_end_to_end(state: State, analysed: bool) -> None:
    filled(state)
    if analysed:
        with state.write() as tx:
            tx.connection.exec_driver_sql("ANALYZE")
    for asked in ASKED:
        assert [one for one in plans(state, asked) if walks(one)] == []


def test_what_is_counted_is_counted_along_an_index(state: State) -> None:
    filled(state)
    for asked in COUNTED:
        assert [one for one in plans(state, asked) if walks(one, counted=True)] == []


def test_an_index_on_labels_gives_their_order(state: State) -> None:
    filled(state)
    found = plans(state, lambda tx: tx.facts_page(FactFilter(label="Label of wd:Q1"), 3, 20))
    assert any("ix_facts_subject_label" in one for one in found)
