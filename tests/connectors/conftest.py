"""Real servers on loopback, and a way to open connectors on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connectors.clock import Clock
from connectors.http.limits import Limiters
from connectors.observations import Connector
from connectors.registry import connect
from tests.support.fault_proxy import FaultProxy
from tests.support.postgres import running_postgres
from tests.support.sparql_server import AGENT, Open, SparqlServer, running_oxigraph


@pytest.fixture(scope="session")
def oxigraph_process() -> Iterator[SparqlServer]:
    with running_oxigraph() as server:
        yield server


@pytest.fixture
def oxigraph(oxigraph_process: SparqlServer) -> SparqlServer:
    """An empty store."""
    oxigraph_process.serve("")
    return oxigraph_process


@pytest.fixture(scope="module")
def proxy(oxigraph_process: SparqlServer) -> Iterator[FaultProxy]:
    """A proxy in front of the store that misbehaves when told to."""
    found = FaultProxy(oxigraph_process.endpoint)
    yield found
    found.close()


@pytest.fixture
def open_wikidata(oxigraph: SparqlServer) -> Open:
    """A Wikibase connector on the store: settings as keywords, `clock` for time."""

    def open_(clock: Clock | None = None, **settings: Any) -> Connector:
        settings = {
            "kind": "wikidata",
            "endpoint": oxigraph.endpoint,
            "agent": AGENT,
            "relations": ["wdt:P6"],
            **settings,
        }
        clock = clock or Clock()
        return connect("wd", settings, clock=clock, limiters=Limiters(clock))

    return open_


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server of our own."""
    with running_postgres() as url:
        yield url.replace("postgresql://", "postgresql+psycopg://")
