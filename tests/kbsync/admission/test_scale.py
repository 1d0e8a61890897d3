"""Admission asks the ledger the same few questions whatever the ledger's size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, event

from benchmarks.sources import Bench, Numbers
from tests.support.admission_world import OpenWorld


@contextmanager
def listening() -> Iterator[list[tuple[str, object]]]:
    """Every statement that is executed meanwhile, with its parameters."""
    heard: list[tuple[str, object]] = []

    def hear(connection, cursor, statement, parameters, context, many) -> None:
        if not many:
            heard.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        yield heard
    finally:
        event.remove(Engine, "before_cursor_execute", hear)


TREE = re.compile(
    r"\bsubtrees\b|events\.seq BETWEEN|max\(events\.seq\)|^SELECT events\.body .*\bevents\.kind = ", re.S
)
"""Statements of the audit log's tree: a few for every 256 events, whatever the ledger's size.

Among them is the one that asks how many events were archived.
"""


def changes(bench: Bench, slots: int) -> list[tuple[str, object]]:
    bench.revision += 1
    bench.source.tell(range(slots), bench.revision)
    with listening() as heard:
        bench._pull(slots)
    return heard


def without_tree(heard: list[tuple[str, object]]) -> list[tuple[str, object]]:
    return [one for one in heard if not TREE.search(one[0])]


def test_the_number_of_statements_follows_what_changed_not_what_there_is(open_world: OpenWorld) -> None:
    bench = Bench(open_world().state, changes=100)
    bench.grow(400)
    changes(bench, 100)
    small = changes(bench, 100)
    bench.grow(4_000)
    large = changes(bench, 100)
    assert len(without_tree(large)) == len(without_tree(small))
    assert max(len(small), len(large)) < 60


def test_no_statement_of_a_cycle_walks_through_a_table(open_world: OpenWorld) -> None:
    bench = Bench(open_world().state, changes=100)
    bench.grow(2_000)
    with bench.state.write() as tx:
        tx.connection.exec_driver_sql("ANALYZE")
    heard = changes(bench, 100)
    walks = set()
    with bench.state.write() as tx:
        for statement, parameters in heard:
            if not statement.startswith(("SELECT", "UPDATE")) or "LIMIT" in statement:
                continue  # a limited walk along an index, such as the newest event, is no walk through
            plan = tx.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            told = "\n".join(row[3] for row in plan)
            if re.search(r"^SCAN (slots|facts|observations|readings|entities|events)\b", told, re.MULTILINE):
                walks.add(f"{statement}\n{told}")
    assert not walks


def test_homonyms_among_thousands_are_found_on_both_sides(open_world: OpenWorld) -> None:
    bench = Bench(open_world().state, changes=10)
    bench.grow(1_000)
    other = Numbers("other", bench.catalogue)
    other.tell(range(200), 9_999)
    report = bench._intake().pull(other, bootstrap=False)
    assert report.reasons["homonym"] == 400
