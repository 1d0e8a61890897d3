"""Any SPARQL endpoint, mapped by the variables of a query."""

from __future__ import annotations

import http.server
import json
import re
import urllib.parse
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
from connectors.http.limits import Limiters
from connectors.observations import Connector
from connectors.registry import connect
from connectors.settings import parse
from connectors.sparql import SparqlSettings, split_prologue
from tests.support.obedient_server import ObedientServer, answer
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


def test_only_differences_are_reported_removals_included(oxigraph: SparqlServer, open_crm: Open) -> None:
    oxigraph.serve(accounts(dict.fromkeys(range(10), "crm:ann")))
    sink, connector = Sink(), open_crm(slots_per_step=3)
    assert sink.drain(connector) == 5  # what is about to be told, and four steps of it
    assert sink.drain(connector) == 0
    oxigraph.serve(accounts({n: "crm:bob" if n == 4 else "crm:ann" for n in range(9)}))
    changed = [o.subject.id for poll in connector.poll(sink.cursor) for o in poll.observations]
    assert changed == ["crm:4", "crm:9"]
    sink.drain(connector)
    assert sink.values("crm:owner") == {f"crm:{n}": ("crm:bob" if n == 4 else "crm:ann",) for n in range(9)}


def test_a_source_that_is_suddenly_empty_is_treated_as_failed(oxigraph: SparqlServer, open_crm: Open) -> None:
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
    with pytest.raises(SourceSettingsError, match=r"sources\.crm: query: does not select \?object"):
        open_crm(query="SELECT ?subject WHERE { ?subject ?p ?o }")
    with pytest.raises(SourceRefused, match="HTTP 400"):
        list(open_crm(query="SELECT ?subject ?object WHERE { nonsense").poll(None))
    oxigraph.serve(accounts({1: "crm:ann"}))
    with pytest.raises(SourceDataError, match="is not in a known namespace"):
        list(open_crm(prefixes={}).poll(None))


def test_the_prologue_is_separated_from_the_query() -> None:
    prologue, select = split_prologue(
        "  PREFIX a: <http://a#x>\n# c\nprefix b: <http://b>  SELECT * WHERE {}"
    )
    assert prologue.count("<") == 2
    assert select == "SELECT * WHERE {}"


def test_the_server_of_these_tests_is_a_real_one(oxigraph: SparqlServer) -> None:
    assert httpx.get(oxigraph.base).status_code == 200


def test_an_answer_cut_by_the_servers_time_limit_is_rejected() -> None:
    """oxigraph says 200 and breaks off past its time limit: the real form of a cut answer."""
    with running_oxigraph("--timeout-s", "1") as slow:
        slow.serve(accounts(dict.fromkeys(range(200), "crm:ann")))
        patterns = "?subject ?p ?object . ?c ?d ?e . ?f ?g ?h FILTER(STR(?h) = STR(?c))"
        everything = f"SELECT ?subject ?object WHERE {{ {patterns} }}"
        settings = {"kind": "sparql", "endpoint": slow.endpoint, "agent": AGENT, "relation": "crm:owner"}
        connector = connect("crm", {**settings, "query": everything, "rows_per_request": 50, "attempts": 1})
        with pytest.raises((TruncatedAnswer, SourceTimeout)):
            list(connector.poll(None))


@pytest.mark.parametrize("subject", ["http://e/1", None])
def test_a_subject_that_fills_every_page_is_named_in_the_end(subject: str | None) -> None:
    server, asked = ObedientServer(), []

    def handle(request: http.server.BaseHTTPRequestHandler) -> None:
        query = urllib.parse.unquote_plus(server.heard[-1].decode())
        limit = re.search(r"LIMIT (\d+)$", query)
        asked.append(int(limit[1]) if limit else 0)
        row = {"object": {"type": "literal", "value": "x"}}
        if subject:
            row["subject"] = {"type": "uri", "value": subject}
        bindings = [row] * (asked[-1] or 1)
        body = json.dumps({"results": {"bindings": bindings}}).encode()
        answer(200, body if limit else body[:-5])(request)

    server.handle = handle
    settings = {
        "kind": "sparql",
        "endpoint": server.url,
        "agent": AGENT,
        "query": "SELECT ?subject ?object WHERE { ?subject ?p ?object }",
        "relation": "wdt:P6",
        "rows_per_request": 100,
        "max_bytes": 50_000,
    }
    try:
        with pytest.raises(SourceDataError, match="more than one answer can hold"):
            list(connect("crm", settings, limiters=Limiters()).poll(None))
        assert len(asked) < 20
    finally:
        server.close()


def test_a_row_with_a_value_that_cannot_be_used_is_left_out_and_the_others_are_read() -> None:
    server = ObedientServer()
    good = {"type": "uri", "value": "https://crm.example/1"}
    text = {"type": "literal", "value": "Ann"}
    rows = [
        {"subject": good, "object": text},
        {"subject": {"type": "uri", "value": None}, "object": text},
        {
            "subject": {"type": "uri", "value": "https://crm.example/2"},
            "object": {"type": "literal", "value": "\ud800"},
        },
        {"object": text},
        {"subject": {"type": "uri", "value": "https://crm.example/3> . }"}, "object": text},
        {},
    ]
    server.handle = answer(200, json.dumps({"results": {"bindings": rows}}).encode())
    settings = {
        "kind": "sparql",
        "endpoint": server.url,
        "agent": AGENT,
        "query": "SELECT ?subject ?object WHERE { ?subject ?p ?object }",
        "relation": "wdt:P6",
        "prefixes": {"crm": "https://crm.example/"},
    }
    try:
        (poll,) = connect("crm", settings, limiters=Limiters()).poll(None)
        told = {o.subject.id: [s.object.id for s in o.statements if s.object] for o in poll.observations}
        assert told["crm:1"] == ["lit:Ann"]
        assert "crm:2" not in told
    finally:
        server.close()


@pytest.mark.parametrize("key", ["endpoint"])
@pytest.mark.parametrize(
    "url",
    [
        "https://u:p@host.example/sparql",
        "https://u@host.example/sparql",
        "ftp://host.example/",
        "https:///sparql",
        "http://[::1",
        "http://host:99999/",
        "file:///etc/passwd",
        "host.example/sparql",
    ],
)
def test_an_address_that_cannot_be_asked_or_holds_a_password_is_refused(key: str, url: str) -> None:
    settings = {"kind": "sparql", key: url, "agent": AGENT, "query": "SELECT ?subject ?object WHERE {}"}
    with pytest.raises(SourceSettingsError, match=rf"sources\.crm\.{key}: ") as caught:
        connect("crm", settings)
    assert "u:p@" not in str(caught.value)


def test_a_password_is_shown_nowhere() -> None:
    settings = {
        "kind": "sparql",
        "endpoint": "https://host.example/sparql",
        "agent": AGENT,
        "query": "SELECT ?subject ?object WHERE {}",
        "user": "sync",
        "password": "open-sesame",
    }
    parsed = parse(SparqlSettings, "crm", settings)
    assert (
        "open-sesame"
        not in f"{parsed!r} {parsed.credentials!r} {parsed.model_dump()} {parsed.model_dump_json()}"
    )
    with pytest.raises(SourceSettingsError) as caught:
        connect("crm", {**settings, "user": None, "endpoint": 5})
    assert "open-sesame" not in str(caught.value)
