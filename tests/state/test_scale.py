"""What a change costs must not follow what the ledger holds: plans are looked at, and SQLite's work is counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from state import State, Transaction
from state.records import Move, Slot, StoredEntity
from tests.support.ledgers import START, Clock, fact, said

BIG = ("entities", "slots", "observations", "readings", "facts", "events", "view_facts")


WHOLE_STATUS = "ix_facts_status (status=?"
"""A search that finds everything of one status: `wanted` is nearly all of a ledger."""


def change(tx: Transaction, first: int, count: int, version: int = 1) -> None:
    """A step of a source as admission writes it: every slot of the range has a new value."""
    subjects = [f"wd:Q{number}" for number in range(first, first + count)]
    pairs = [(subject, "wdt:P6") for subject in subjects]
    offered = [fact(subject, f"wd:V{version}", revision=version) for subject in subjects]
    tx.put_entities([StoredEntity(subject, f"Label of {subject}") for subject in subjects])
    tx.put_slots(
        [Slot(one.subject, one.relation, one.subject_label, one.template, one.prompt_key) for one in offered]
    )
    tx.record([said(subject, f'["wd:V{version}"]', revision=version) for subject in subjects])
    tx.slots_with_prompt_keys(one.prompt_key for one in offered)
    tx.wanted_with_prompt_keys(one.prompt_key for one in offered)
    tx.unrendered(["wdt:P6"], 10)
    tx.histories(pairs)
    tx.current(pairs)
    older = [old for facts in tx.facts_of(pairs).values() for old in facts if old.status == "wanted"]
    tx.move_facts([Move(old.id, "superseded", "a newer value", "wanted") for old in older], "admission")
    tx.put_facts(offered, "admission")
    tx.due(START)
    tx.set_cursor("wikidata", str(first + count))


@contextmanager
def statements(tx: Transaction) -> Iterator[list[tuple[str, object]]]:
    """What is sent to the database meanwhile."""
    sent: list[tuple[str, object]] = []

    def note(connection, cursor, statement, parameters, context, many) -> None:
        sent.append((statement, parameters[0] if many else parameters))

    event.listen(tx.connection, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(tx.connection, "before_cursor_execute", note)


def test_no_step_of_a_change_reads_a_whole_table(new_url) -> None:
    state = State.open(new_url("sqlite"), Clock())
    with state.write() as tx:
        change(tx, 0, 30)
        with statements(tx) as sent:
            change(tx, 10, 30, version=2)
            tx.slots_of_objects(["wd:V1"])
            tx.provenance(5)
            tx.random_slots("wikidata", 5, seed=1)
            tx.watched_page("wikidata", 0, 1_000)
        plans = [
            (row[3], statement)
            for statement, parameters in sent
            for row in tx.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]
    state.close()
    scans = [
        (plan, statement)
        for plan, statement in plans
        if plan.startswith(tuple(f"SCAN {name}" for name in BIG)) or WHOLE_STATUS in plan
    ]
    assert scans == []
    assert len(sent) > 20


EVERY = 100
"""Instructions of SQLite's virtual machine from one call of the progress handler to the next."""


@contextmanager
def instructions(tx: Transaction) -> Iterator[list[int]]:
    """The only item becomes the number of virtual machine instructions that SQLite runs meanwhile."""
    driver, counted = tx.connection.connection.driver_connection, [0]

    def count() -> None:
        counted[0] += EVERY

    driver.set_progress_handler(count, EVERY)
    try:
        yield counted
    finally:
        driver.set_progress_handler(None, 0)


@pytest.mark.slow
def test_a_change_costs_the_same_in_a_ledger_ten_times_as_large(new_url) -> None:
    """Time would depend on what else the machine does, and on how much of the file its memory holds."""
    state = State.open(new_url("sqlite"), Clock())
    run = []
    for number in range(50):
        with state.write() as tx, instructions(tx) as counted:
            change(tx, number * 1000, 1000)
        run.append(counted[0])
    state.close()
    early, late = sorted(run[2:7])[2], sorted(run[-5:])[2]
    assert early > 100_000
    assert late < 1.1 * early
