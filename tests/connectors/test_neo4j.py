"""A property graph as a source: Neo4j's driver against a server that speaks Bolt (FalkorDB)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from connectors.conformance import PROMISES, Facts, Scenario
from connectors.errors import SourceRefused, SourceUnavailable
from connectors.observations import Connector
from connectors.registry import connect
from tests.support.crm_scenario import CrmScenario
from tests.support.servers import bolt_server
from tests.support.sink import Sink
from tests.support.sparql_server import free_port

pytestmark = pytest.mark.neo4j
QUERY = """MATCH (a:Account) OPTIONAL MATCH (a)-[:OWNED_BY]->(o:Owner)
RETURN a.id AS subject, a.name AS subject_label, o.name AS object, a.changed AS changed"""

OPEN: list[Any] = []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with bolt_server(tmp_path_factory.mktemp("graph")) as url:
        yield url


@pytest.fixture(autouse=True)
def connections_that_stay_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """FalkorDB answers no further connection once one was closed, so they end with the server."""
    neo4j = pytest.importorskip("neo4j", reason="needs `pip install kbsync[neo4j]`")
    made = neo4j.GraphDatabase.driver

    def driver(*arguments: Any, **options: Any) -> Any:
        OPEN.append(made(*arguments, **options))
        return OPEN[-1]

    monkeypatch.setattr(neo4j.GraphDatabase, "driver", driver)
    monkeypatch.setattr(neo4j.Driver, "close", lambda self: None)


class Accounts:
    """A graph of its own, with accounts and their owners."""

    def __init__(self, url: str) -> None:
        neo4j = pytest.importorskip("neo4j", reason="needs `pip install kbsync[neo4j]`")
        self.name, self.url = f"g{uuid.uuid4().hex[:8]}", url
        self._driver = neo4j.GraphDatabase.driver(url, auth=("neo4j", ""), max_transaction_retry_time=5)
        self._now = 1_700_000_000_000
        self.run("MATCH (n) DETACH DELETE n")  # this server has one graph for all databases

    def own(self, id: str, *owners: str) -> None:
        """The account `id` has these owners now."""
        self._now += 1_000
        self.run(
            "MERGE (a:Account {id: $id}) SET a.name = $name, a.changed = $now", id=id, name=f"Account {id}"
        )
        self.run("MATCH (a:Account {id: $id})-[r:OWNED_BY]->() DELETE r", id=id)
        for owner in owners:
            self.run(
                "MATCH (a:Account {id: $id}) CREATE (a)-[:OWNED_BY]->(:Owner {name: $owner})",
                id=id,
                owner=owner,
            )

    def run(self, cypher: str, **parameters: Any) -> None:
        self._driver.execute_query(cypher, {**parameters, "now": self._now}, database_=self.name)

    def open(self, **settings: Any) -> Connector:
        own = {"kind": "neo4j", "url": self.url, "database": self.name, "namespace": "crm"}
        return connect("crm", {**own, "relation": "crm:owner", "query": QUERY, **settings})

    def close(self) -> None:
        self._driver.close()


@pytest.fixture
def accounts(server: str) -> Iterator[Accounts]:
    made = Accounts(server)
    yield made
    made.close()


class GraphScenario(CrmScenario):
    def __init__(self, accounts: Accounts, **mode: Any) -> None:
        super().__init__()
        self._accounts, self._mode = accounts, mode

    def open(self) -> Connector:
        return self._accounts.open(slots_per_step=2, subjects_per_request=2, **self._mode)

    def store(self, facts: Facts) -> None:
        for (subject, _), objects in facts.items():
            self._accounts.own(subject[4:], *(o[4:] for o in sorted(objects)))


KEYSET = {"mode": "keyset", "updated_at": "changed"}


@pytest.mark.parametrize("mode", [{}, KEYSET], ids=["diff", "keyset"])
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_a_graph_keeps_every_promise(
    accounts: Accounts, mode: dict[str, Any], promise: Callable[[Scenario], None]
) -> None:
    scenario = GraphScenario(accounts, **mode)
    scenario.write({slot: frozenset({scenario.objects()[0]}) for slot in scenario.slots(6)})
    promise(scenario)


def test_keyset_reads_only_what_changed_and_a_late_commit_within_the_overlap(accounts: Accounts) -> None:
    sink, connector = Sink(), accounts.open(**KEYSET)
    for n in range(5):
        accounts.own(str(n), "Ann")
    sink.drain(connector)
    before = sink.recorded
    accounts.own("3", "Bob")
    accounts.run("MATCH (a:Account {id: '3'}) SET a.changed = $now - 60000")  # an early time, committed late
    sink.drain(connector)
    assert sink.recorded == before + 1
    assert sink.values("crm:owner")["crm:3"] == ("lit:Bob",)
    assert sink.slots["crm:3", "crm:owner"].subject.label == "Account 3"
    assert sink.drain(connector) == 0


def test_a_node_that_is_deleted_is_found_by_diff_and_by_a_snapshot(accounts: Accounts) -> None:
    for n in range(3):
        accounts.own(str(n), "Ann")
    sink, connector = Sink(), accounts.open()
    sink.drain(connector)
    accounts.run("MATCH (a:Account {id: '1'}) DETACH DELETE a")
    (step,) = accounts.open(**KEYSET).snapshot([("crm:1", "crm:owner"), ("crm:2", "crm:owner")])
    assert [len(one.statements) for one in step.observations] == [0, 1]
    sink.drain(connector)
    assert set(sink.values("crm:owner")) == {"crm:0", "crm:2"}


def test_errors_say_whose_turn_it_is(accounts: Accounts) -> None:
    accounts.own("1", "Ann")
    with pytest.raises((SourceRefused, SourceUnavailable), match="crm: "):
        list(accounts.open(query="MATCH (a RETURN a").poll(None))
    with pytest.raises(SourceUnavailable, match="crm: "):
        list(accounts.open(url=f"bolt://127.0.0.1:{free_port()}").poll(None))
    assert (
        "no column object" in accounts.open(query="MATCH (a:Account) RETURN a.id AS subject").check().detail
    )
    assert accounts.open().check().ok
