"""`/ask` and `/survey`, and the plans of the queries behind the lists."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from sqlalchemy import event

from kbsync.queries.quarantine import Selection, waiting_page
from kbsync.queries.survey import survey
from state import Snapshot
from state.event_queries import EventFilter
from state.fact_queries import FactFilter
from state.records import BaseAnswer
from tests.support.ledgers import BASE
from tests.support.reviewed import Reviewed


def test_the_base_is_right_outdated_or_does_not_know(home: Reviewed, client: httpx.Client) -> None:
    app = home.place.application()
    with app.state.write() as tx:
        facts = {one.subject_label: one for one in tx.wanted()}
        answers = {
            facts["Label of Q1"].id: BaseAnswer(False, "Label of Q10, of course"),
            facts["Label of Q2"].id: BaseAnswer(True, "Label of Q20"),
        }
        tx.put_base_answers(BASE, answers)
    found = survey(app)
    assert found.counts == {"outdated": 1, "right": 1, "not asked": 1}
    (outdated,) = found.outdated
    assert (outdated.believed, outdated.fact.target) == ("Label of Q10", "Label of Q11")
    assert {line.name: dict(line.counts) for line in found.relations} == {
        "crm:owner": {"not asked": 1},
        "wdt:P6": {"outdated": 1, "right": 1},
    }
    with app.state.write() as tx:
        tx.put_base_answers(BASE, {facts["Red Boat"].id: BaseAnswer(False, "Nobody")})
    assert survey(app).counts == {"outdated": 1, "right": 1, "unknown": 1}
    text = client.get("/survey").text
    assert "<del>Label of Q10</del>" in text
    assert "<ins>Label of Q11</ins>" in text


def test_a_value_that_a_source_states_beside_the_wanted_one_is_an_earlier_one(home: Reviewed) -> None:
    home.say("crm", Red_Boat="Carl", Old_Mill="Emil")
    home.pull()
    home.say("crm", Old_Mill="Frida")
    home.pull()
    app = home.place.application()
    with app.state.write() as tx:
        mill = next(one for one in tx.wanted() if one.subject_label == "Old Mill")
        tx.put_base_answers(BASE, {mill.id: BaseAnswer(False, "emil")})
    assert mill.target == "Frida"
    assert [one.believed for one in survey(app).outdated] == ["Emil"]


def test_a_prompt_is_explained_without_a_model(home: Reviewed, client: httpx.Client) -> None:
    with home.place.application().state.read() as tx:
        fact = next(one for one in tx.wanted() if one.target == "Carl")
    text = client.get("/ask", params={"prompt": fact.prompt}).text
    assert f'href="/facts/{fact.id}"' in text
    assert "not in live" in text
    assert "No fact in the ledger has this prompt" in client.get("/ask?prompt=What+is+this").text
    answer = client.post("/ask", data={"prompt": fact.prompt})
    assert answer.status_code == 422
    assert "no base model is configured" in answer.text
    assert client.post("/ask", data={"prompt": " "}).status_code == 422


@contextmanager
def plans(tx: Snapshot) -> Iterator[list[str]]:
    """The plan of every statement that is sent meanwhile."""
    sent: list[tuple[str, object]] = []
    found: list[str] = []

    def note(connection, cursor, statement, parameters, context, many) -> None:
        sent.append((statement, parameters))

    event.listen(tx.connection, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(tx.connection, "before_cursor_execute", note)
    for statement, parameters in sent:
        rows = tx.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type]
        found += [f"{row[3]} <- {statement}" for row in rows]


SCANS = ("SCAN facts", "SCAN events", "SCAN runs", "SCAN checkpoints", "SCAN gate_results", "USE TEMP B-TREE")


@pytest.mark.parametrize(
    "ask",
    [
        lambda tx: tx.chosen_facts(FactFilter("quarantined"), 5, 50),
        lambda tx: tx.chosen_facts(FactFilter(None, subject="wd:Q1"), 5, 50),
        lambda tx: tx.runs(30, before=9),
        lambda tx: tx.runs(30, "failed", before=9),
        lambda tx: tx.last_gate_results([1, 2]),
        lambda tx: tx.checkpoints_before(9, 30),
        lambda tx: tx.recent_events(EventFilter(before=9), 60),
        lambda tx: tx.recent_events(EventFilter(fact=1), 60),
        lambda tx: tx.recent_events(EventFilter(run=1), 60),
    ],
)
def test_a_page_of_a_list_is_read_by_an_index(home: Reviewed, ask) -> None:
    with home.place.application().state.read() as tx:
        with plans(tx) as found:
            ask(tx)
        assert found
        assert [one for one in found if one.startswith(SCANS[:-1])] == []


def test_labels_are_found_by_their_beginning_with_an_index(home: Reviewed) -> None:
    with home.place.application().state.read() as tx:
        with plans(tx) as found:
            assert [one.target for one in tx.chosen_facts(FactFilter(label="Red"), 0, 50)] == ["Carl"]
        assert any("ix_facts_subject_label" in one for one in found), found
        for beginning in ("", "R%", "_ed", "\U0010ffff"):
            facts = tx.chosen_facts(FactFilter(label=beginning))
            assert all(one.subject_label.startswith(beginning) for one in facts)


def test_what_waits_is_paged_without_reading_what_does_not(home: Reviewed) -> None:
    app = home.place.application()
    first = waiting_page(app, Selection(), 0, 3)
    assert (len(first.rows), first.next) == (3, first.rows[-1].fact.id)
    rest = waiting_page(app, Selection(), first.rows[-1].fact.id, 3)
    assert (len(rest.rows), rest.next) == (1, None)
    assert {one.fact.source for one in waiting_page(app, Selection(source="erp")).rows} == {"erp"}
