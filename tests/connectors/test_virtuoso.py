"""A second dialect: Virtuoso, which says `typed-literal`, knows named graphs and cuts long answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from connectors.observations import Connector, Observation
from connectors.registry import connect
from tests.support.sink import Sink
from tests.support.sparql_server import AGENT, SparqlServer
from tests.support.virtuoso import GRAPH, Virtuoso, installed
from tests.support.wikibase_world import NO_VALUE, SOME_VALUE, Claim, World

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not installed(), reason="apt-get install virtuoso-opensource-7 for these tests"),
]
MAX_ROWS = 50


@pytest.fixture(scope="module")
def virtuoso(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Virtuoso]:
    server = Virtuoso(tmp_path_factory.mktemp("virtuoso"), max_rows=MAX_ROWS)
    yield server
    server.close()


def every_shape() -> World:
    world = World()
    ended = datetime(2020, 5, 1, 12, 30, tzinfo=UTC)
    world.add("Q1", "Conte", P31=[Claim("Q1-h", "Q5")])
    world.add("Q2", "Draghi", P31=[Claim("Q2-h", "Q5")], P570=[Claim("Q2-d", SOME_VALUE)])
    world.items["Q2"].aliases = ["Mario Draghi", "Süper Mario"]
    world.add("Q3").labels = {"mul": "Nameless", "de": "Namenlos"}
    world.add("Q4", "Merged").redirect = "Q2"
    world.add(
        "Q100",
        "Italy",
        P6=[
            Claim("Q100-a", "Q1", end=ended, references=3),
            Claim("Q100-b", "Q2", rank="Preferred", start=ended, references=1),
            Claim("Q100-c", "Q3", rank="Deprecated"),
            Claim("Q100-d", "Q4"),
            Claim("Q100-e", SOME_VALUE),
            Claim("Q100-f", NO_VALUE),
            Claim("Q100-g", "Q1", end=SOME_VALUE),
        ],
        P36=[
            Claim("Q100-h", '"Rome"'),
            Claim("Q100-i", "<https://rome.example/>"),
            Claim("Q100-j", '"42"^^xsd:int'),
        ],
    )
    for n in range(101, 160):
        world.add(f"Q{n}", f"Country {n}", P6=[Claim(f"Q{n}-a", "Q1", references=2)])
    return world


WATCHED = [f"wd:Q{n}" for n in range(100, 160)]


def opened(endpoint: str) -> Connector:
    settings = {"endpoint": endpoint, "agent": AGENT, "subjects": WATCHED, "relations": ["wdt:P6", "wdt:P36"]}
    return connect("wd", {"kind": "wikidata", **settings})


def told(endpoint: str) -> list[Observation]:
    epoch = datetime(2000, 1, 1, tzinfo=UTC)
    observations = [o for poll in opened(endpoint).poll(None) for o in poll.observations]
    return sorted(
        (replace(o, observed=epoch) for o in observations), key=lambda o: (o.subject.id, o.relation)
    )


def test_virtuoso_tells_what_oxigraph_tells_though_it_cuts_answers(
    virtuoso: Virtuoso, oxigraph: SparqlServer
) -> None:
    world = every_shape()
    virtuoso.serve(world)
    oxigraph.serve(world)
    expected = told(oxigraph.endpoint)
    assert len(expected) == 61
    assert sum(len(o.statements) for o in expected) > 60
    assert told(virtuoso.endpoint) == expected


def test_changes_are_polled_on_virtuoso(virtuoso: Virtuoso) -> None:
    world = every_shape()
    virtuoso.serve(world)
    sink, connector = Sink(), opened(virtuoso.endpoint)
    sink.drain(connector)
    world.touch("Q120", timedelta(hours=1)).claims["P6"] = [Claim("Q120-b", "Q2")]
    world.touch("Q3", timedelta(seconds=1)).labels["mul"] = "Renamed"
    del world.items["Q130"]
    virtuoso.serve(world)
    sink.drain(connector)
    assert sink.values()["wd:Q120"] == ("wd:Q2",)
    assert sink.labels["wd:Q3"] == "Renamed"
    assert "wd:Q130" not in sink.values()
    sink.drain(connector)
    assert sink.drain(connector) == 0


def test_a_mapped_query_on_a_named_graph_is_read_in_pages(virtuoso: Virtuoso) -> None:
    virtuoso.serve(every_shape())
    query = f"""PREFIX p: <http://www.wikidata.org/prop/> PREFIX ps: <http://www.wikidata.org/prop/statement/>
        SELECT ?subject ?object WHERE {{ GRAPH <{GRAPH}> {{ ?subject p:P6 ?st . ?st ps:P6 ?object }} }}"""
    settings = {"kind": "sparql", "endpoint": virtuoso.endpoint, "agent": AGENT, "relation": "wdt:P6"}
    sink = Sink()
    sink.drain(connect("crm", {**settings, "query": query, "rows_per_request": 40}))
    assert sink.values() == {
        id: ("wd:Q1", "wd:Q2", "wd:Q3", "wd:Q4") if id == "wd:Q100" else ("wd:Q1",) for id in WATCHED
    }
