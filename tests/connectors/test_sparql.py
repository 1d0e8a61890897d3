"""Any SPARQL endpoint, mapped by the variables of a query."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest

from connectors.dates import Interval
from connectors.errors import (
    SourceDataError,
    SourceRefused,
    SourceSettingsError,
    SourceTimeout,
    TruncatedAnswer,
)
from connectors.observations import Connector
from connectors.registry import connect
from connectors.sparql import split_prologue
from tests.support.sink import Sink
from tests.support.sparql_server import AGENT, SparqlServer, running_oxigraph

QUERY = """# accounts and who looks after them
PREFIX crm: <https://crm.example/>
SELECT ?subject ?subject_label ?object ?object_label ?start ?modified WHERE {
  ?subject crm:owner ?object ; crm:name ?subject_label .
  OPTIONAL { ?object crm:name ?object_label }
  OPTIONAL { ?subject crm:since ?start }
  OPTIONAL { ?subject crm:changed ?modified }
}"""


def accounts(owners: dict[int, str]) -> str:
    lines = ["@prefix crm: <https://crm.example/> .", 'crm:ann crm:name "Ann" . crm:bob crm:name "Bob" .']
    lines += [f'crm:{n} crm:name "Account {n}" ; crm:owner {owner} .' for n, owner in owners.items()]
    return "\n".join(lines)


Open = Callable[..., Connector]


@pytest.fixture
def open_crm(oxigraph: SparqlServer) -> Open:
    def open_(**settings: object) -> Connector:
        own = {
            "kind": "sparql",
            "endpoint": oxigraph.endpoint,
            "agent": AGENT,
            "query": QUERY,
            "relation": "crm:owner",
            "prefixes": {"crm": "https://crm.example/"},
        }
        return connect("crm", {**own, **settings})

    return open_


def test_a_query_with_named_variables_is_enough(oxigraph: SparqlServer, open_crm: Open) -> None:
    since = '"2024-05-01T10:00:00+02:00"^^<http://www.w3.org/2001/XMLSchema#dateTime>'
    oxigraph.serve(
        accounts({1: "crm:ann", 2: '"Bob"', 3: "crm:ann, crm:bob"}) + f"\ncrm:1 crm:since {since} ."
    )
    (poll,) = open_crm().poll(None)
    told = {o.subject.id: o for o in poll.observations}
    assert told["crm:1"].subject.label == "Account 1"
    (first,) = told["crm:1"].statements
    assert (first.kind, first.object and first.object.label) == ("entity", "Ann")
    assert first.start == Interval.at(datetime(2024, 5, 1, 8, tzinfo=UTC))
    assert [s.object and s.object.id for s in told["crm:2"].statements] == ["lit:Bob"]
    assert len(told["crm:3"].statements) == 2


def test_only_differences_are_told_removals_included(oxigraph: SparqlServer, open_crm: Open) -> None:
    oxigraph.serve(accounts(dict.fromkeys(range(10), "crm:ann")))
    sink, connector = Sink(), open_crm(slots_per_step=3)
    assert sink.drain(connector) == 5  # what is about to be told, and four steps of it
    assert sink.drain(connector) == 0
    oxigraph.serve(accounts({n: "crm:bob" if n == 4 else "crm:ann" for n in range(9)}))
    changed = [o.subject.id for poll in connector.poll(sink.cursor) for o in poll.observations]
    assert changed == ["crm:4", "crm:9"]
    sink.drain(connector)
    assert sink.values("crm:owner") == {f"crm:{n}": ("crm:bob" if n == 4 else "crm:ann",) for n in range(9)}


def test_a_source_that_is_suddenly_empty_is_not_believed(oxigraph: SparqlServer, open_crm: Open) -> None:
    oxigraph.serve(accounts(dict.fromkeys(range(10), "crm:ann")))
    sink, connector = Sink(), open_crm()
    sink.drain(connector)
    oxigraph.serve("")
    with pytest.raises(SourceDataError, match="10 of 10 slots vanished at once"):
        sink.drain(connector)


def test_an_answer_that_does_not_fit_is_read_in_pages_of_whole_subjects(
    oxigraph: SparqlServer, open_crm: Open
) -> None:
    owners = {n: "crm:ann, crm:bob" if n % 3 == 0 else "crm:ann" for n in range(400)}
    oxigraph.serve(accounts(owners))
    whole, paged = Sink(), Sink()
    whole.drain(open_crm())
    paged.drain(open_crm(max_bytes=40_000, rows_per_request=200))
    assert paged.values("crm:owner") == whole.values("crm:owner")
    assert len(paged.values("crm:owner")) == 400


def test_snapshots_neighbours_and_facts(oxigraph: SparqlServer, open_crm: Open) -> None:
    oxigraph.serve(accounts({1: "crm:ann", 2: "crm:ann", 3: "crm:bob", 4: '"Ann"'}))
    connector = open_crm()
    (poll,) = connector.snapshot([("crm:1", "crm:owner"), ("crm:9", "crm:owner")])
    assert [(o.subject.id, len(o.statements)) for o in poll.observations] == [("crm:1", 1), ("crm:9", 0)]
    assert [t.subject.id for t in connector.neighbours("crm:owner", "crm:ann", 5)] == ["crm:1", "crm:2"]
    assert [t.subject.id for t in connector.neighbours("crm:owner", "lit:Ann", 5)] == ["crm:4"]
    assert len(connector.neighbours("crm:owner", None, 3)) == 3
    assert [t.object.label for t in connector.facts_of("crm:3", 5)] == ["Bob"]
    assert connector.check().ok


def test_wrong_queries_are_refused_with_a_reason(oxigraph: SparqlServer, open_crm: Open) -> None:
    with pytest.raises(SourceSettingsError, match=r"sources\.crm: query: selects no \?object"):
        open_crm(query="SELECT ?subject WHERE { ?subject ?p ?o }")
    with pytest.raises(SourceRefused, match="HTTP 400"):
        list(open_crm(query="SELECT ?subject ?object WHERE { nonsense").poll(None))
    oxigraph.serve(accounts({1: "crm:ann"}))
    with pytest.raises(SourceDataError, match="is in no known namespace"):
        list(open_crm(prefixes={}).poll(None))


def test_the_prologue_is_told_from_the_query() -> None:
    prologue, select = split_prologue(
        "  PREFIX a: <http://a#x>\n# c\nprefix b: <http://b>  SELECT * WHERE {}"
    )
    assert prologue.count("<") == 2
    assert select == "SELECT * WHERE {}"


def test_the_server_of_these_tests_is_a_real_one(oxigraph: SparqlServer) -> None:
    assert httpx.get(oxigraph.base).status_code == 200


def test_a_server_that_runs_out_of_time_while_streaming_is_not_believed() -> None:
    """oxigraph says 200 and breaks off past its time limit: the real form of a cut answer."""
    with running_oxigraph("--timeout-s", "1") as slow:
        slow.serve(accounts(dict.fromkeys(range(200), "crm:ann")))
        patterns = "?subject ?p ?object . ?c ?d ?e . ?f ?g ?h FILTER(STR(?h) = STR(?c))"
        everything = f"SELECT ?subject ?object WHERE {{ {patterns} }}"
        settings = {"kind": "sparql", "endpoint": slow.endpoint, "agent": AGENT, "relation": "crm:owner"}
        connector = connect("crm", {**settings, "query": everything, "rows_per_request": 50, "attempts": 1})
        with pytest.raises((TruncatedAnswer, SourceTimeout)):
            list(connector.poll(None))
