"""Which statements of a slot hold now: one rule for facts, probes and neighbours."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from connectors.current import current_triples, read
from connectors.dates import interval, wikibase_interval
from connectors.observations import Entity, Observation, Rank, Statement

NOW = datetime(2026, 11, 15, tzinfo=UTC)


def held(name: str, rank: Rank = "normal", start: str = "", end: str = "", id: str = "") -> Statement:
    return Statement(
        id or f"s-{name}",
        "entity",
        Entity(f"wd:{name}", name),
        rank,
        start=interval(start) if start else None,
        end=interval(end) if end else None,
    )


@pytest.mark.parametrize(
    ("statements", "values"),
    [
        ([held("ann", end="2026")], ["ann"]),
        ([held("ann", end="2026-11")], ["ann"]),
        ([held("ann", end="2026-11-15")], ["ann"]),
        ([held("ann", end="2026-11-14")], []),
        ([held("ann", end="2026-10")], []),
        ([held("ann", end="2025")], []),
        ([held("ann", end="202X")], ["ann"]),
        ([held("ann", start="21st century")], ["ann"]),
        ([held("ann", start="2026")], ["ann"]),
        ([held("ann", start="2027")], []),
        # a successor that has begun within the interval of the end decides it
        ([held("ann", end="2026"), held("bob", start="2026-05")], ["bob"]),
        ([held("ann", end="2026"), held("bob", start="2026")], ["bob"]),
        ([held("ann", "preferred", end="2026"), held("bob", start="2026-05")], ["bob"]),
        ([held("ann", end="2026"), held("bob", start="2026-12")], ["ann"]),
        ([held("ann", end="2026"), held("bob", start="2025")], ["ann", "bob"]),
        ([held("ann", end="2026"), held("ann", start="2026", id="second term")], ["ann"]),
        ([held("ann", end="2026"), held("bob", "deprecated", start="2026")], ["ann"]),
        # of a preferred value that ended, an undated normal one is no successor
        ([held("ann", "preferred", start="2020", end="2025"), held("bob")], []),
        ([held("ann", "preferred", start="2020", end="2025"), held("bob", start="2025")], ["bob"]),
    ],
)
def test_an_end_counts_once_it_has_passed_and_a_start_from_its_first_instant(
    statements: list[Statement], values: list[str]
) -> None:
    found = read(statements, NOW)
    assert [one.object.label for one in found.values if one.object] == values
    assert (found.absence is None) == bool(values)


def test_probes_and_facts_go_by_one_rule() -> None:
    stale = (held("ann", "preferred", start="2020", end="2025"), held("bob"))
    observation = Observation("kb", Entity("wd:Q1", "Italy"), "wdt:P6", stale, 1, None, NOW)
    assert current_triples([observation], NOW) == []


def test_the_next_change_is_the_end_of_an_interval_or_the_beginning_of_another() -> None:
    assert read([held("ann", end="2026")], NOW).next_change == datetime(2027, 1, 1, tzinfo=UTC)
    assert read([held("bob", start="2027-02")], NOW).next_change == datetime(2027, 2, 1, tzinfo=UTC)


def test_a_slot_of_very_many_statements_is_read_in_linear_time() -> None:
    many = [held(f"p{n}", start="2026", end="2026") for n in range(50_000)]
    assert read(many, NOW).values == ()


def test_a_year_read_from_wikibase_lasts_as_long_as_a_written_one() -> None:
    assert wikibase_interval("2026-01-01T00:00:00Z", 9) == interval("2026")
