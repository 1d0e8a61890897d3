"""Whatever the endpoint does and wherever we are killed, the ledger ends as if nothing had happened."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from connectors.http.limits import Limiters
from connectors.observations import Connector, Entity
from connectors.registry import connect
from tests.support.fault_proxy import FAULTS, FaultProxy
from tests.support.fault_schedules import change, first_world, run, try_to_drain
from tests.support.sink import Sink
from tests.support.sparql_server import AGENT, SparqlServer
from tests.support.virtual_time import VirtualTime


def final(sink: Sink) -> dict[str, object]:
    """The ledger: what each slot holds, by id, and the names of everything that is used."""
    held = sink.statements()
    used = {slot[0] for slot in held} | {s.object.id for told in held.values() for s in told if s.object}
    nameless = {
        slot: [replace(s, object=s.object and Entity(s.object.id)) for s in told]
        for slot, told in held.items()
    }
    return {"slots": nameless, "names": {id: sink.labels[id] for id in used}, "moved": sink.moved}


def check_schedules(server: SparqlServer, proxy: FaultProxy, seeds: range) -> Counter[str]:
    dealt: Counter[str] = Counter()
    for seed in seeds:
        expected, failures = run(server, server.endpoint, seed, faulty=False, sink=Sink())
        assert not failures
        proxy.behave(seed, most=25, rate=0.35)
        found, _ = run(server, proxy.endpoint, seed, faulty=True, sink=Sink())
        dealt.update(proxy.dealt)
        assert final(found) == final(expected), f"seed {seed}: {proxy.dealt}"
    return dealt


def mapped(endpoint: str, time: VirtualTime) -> Connector:
    """The same leaders, through kind `sparql`."""
    query = """PREFIX p: <http://www.wikidata.org/prop/> PREFIX ps: <http://www.wikidata.org/prop/statement/>
        PREFIX rdfs: <http://www.w3.org/2000/01/rdf-schema#>
        SELECT ?subject ?subject_label ?object ?object_label WHERE {
          ?subject p:P6 ?st ; rdfs:label ?subject_label . ?st ps:P6 ?object . ?object rdfs:label ?object_label }"""
    settings = {"kind": "sparql", "endpoint": endpoint, "agent": AGENT, "query": query, "relation": "wdt:P6"}
    paged = {
        "rows_per_request": 60,
        "slots_per_step": 2,
        "attempts": 3,
        "max_vanished": 1.0,
        "deadline_s": 0.25,
    }
    return connect("wd", {**settings, **paged}, clock=time.clock, limiters=Limiters(time.clock))


@pytest.mark.parametrize("seed", range(12))
def test_a_mapped_query_comes_to_the_same_end(oxigraph: SparqlServer, proxy: FaultProxy, seed: int) -> None:
    chance, time, world, sink = random.Random(seed), VirtualTime(), first_world(), Sink()
    failures: Counter[str] = Counter()
    proxy.behave(seed, most=8, rate=0.5)
    for _ in range(4):
        oxigraph.serve(world)
        try_to_drain(sink, mapped(proxy.endpoint, time), chance.choice((None, 1, 2)), failures)
        change(world, chance)
        time.sleep(1)
    oxigraph.serve(world)
    for _ in range(20):
        try_to_drain(sink, mapped(proxy.endpoint, time), None, failures)
    held = {
        f"wd:{id}": tuple(sorted(f"wd:{claim.value}" for claim in item.claims.get("P6", ())))
        for id, item in world.items.items()
        if not item.redirect
    }
    assert sink.values() == {id: objects for id, objects in held.items() if objects}, proxy.dealt


def test_a_few_schedules(oxigraph: SparqlServer, proxy: FaultProxy) -> None:
    check_schedules(oxigraph, proxy, range(4))


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize(
    "hundred",
    [
        pytest.param(hundred, marks=pytest.mark.slow if hundred < 1 else pytest.mark.thorough)
        for hundred in range(10)
    ],
)
def test_a_thousand_schedules(oxigraph: SparqlServer, proxy: FaultProxy, hundred: int) -> None:
    dealt = check_schedules(oxigraph, proxy, range(100 * hundred, 100 * hundred + 100))
    assert set(dealt) == set(FAULTS)
