"""The same misbehaving endpoint in front of the real ledger: intake, admission and audit log at work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.fault_proxy import FaultProxy
from tests.support.fault_schedules import run
from tests.support.real_ledger import RealLedger
from tests.support.sparql_server import SparqlServer


@pytest.fixture
def new_ledger(tmp_path: Path) -> Iterator[Callable[[str], RealLedger]]:
    opened: list[RealLedger] = []

    def new(name: str) -> RealLedger:
        opened.append(RealLedger(tmp_path / f"{name}.db"))
        return opened[-1]

    yield new
    for ledger in opened:
        ledger.state.close()


@pytest.mark.parametrize("seed", range(2000, 2006))
def test_the_ledger_ends_as_that_of_a_faultless_run(
    oxigraph: SparqlServer, proxy: FaultProxy, new_ledger: Callable[[str], RealLedger], seed: int
) -> None:
    expected, failures = run(oxigraph, oxigraph.endpoint, seed, faulty=False, sink=new_ledger("calm"))
    assert not failures
    proxy.behave(seed, most=25, rate=0.35)
    found, _ = run(oxigraph, proxy.endpoint, seed, faulty=True, sink=new_ledger("faulty"))
    assert len(proxy.dealt) > 3
    assert found.final() == expected.final(), proxy.dealt
