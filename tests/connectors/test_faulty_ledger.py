"""The same misbehaving endpoint in front of the real ledger: intake, admission and audit log at work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from connectors.observations import Connector, Poll
from kbsync.admission.policy import Policy
from kbsync.catalogue.relations import load_catalogue
from kbsync.intake.pull import Intake
from state import State
from tests.support.fault_proxy import FaultProxy
from tests.support.fault_schedules import run
from tests.support.sparql_server import SparqlServer

TRUSTING = Policy(
    settle_with_reference=0,
    settle_without_reference=0,
    settle_ended=0,
    settle_label=0,
    max_flips=1000,
    living="on",
)
CATALOGUE = load_catalogue()


class Killed(Exception):
    """The process ends here."""


class Mortal:
    """A connector whose poll is cut off after some steps: what came before is committed, the rest is not."""

    def __init__(self, connector: Connector, at_most: int | None) -> None:
        self._connector, self._left = connector, at_most
        self.name = connector.name
        self.steps = 0

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        for step in self._connector.poll(cursor):
            if self._left is not None and self.steps == self._left:
                raise Killed
            self.steps += 1
            yield step

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connector, name)


class RealLedger:
    """Commits as a sync does."""

    def __init__(self, file: Path) -> None:
        self.state = State.open(f"sqlite:///{file}")
        self.state.migrate()

    def drain(self, connector: Connector, at_most: int | None = None) -> int:
        mortal: Any = Mortal(connector, at_most)
        with suppress(Killed):
            Intake(self.state, TRUSTING, CATALOGUE).pull(mortal, bootstrap=True)
        return int(mortal.steps)

    def final(self) -> dict[str, Any]:
        """What every slot holds and is called, and that nothing of it is doubled."""
        pairs = sorted(pair for page in self.state.watched("wd") for pair in page)
        with self.state.read() as tx:
            current = {
                pair: one.statements for pair, (one,) in tx.current(pairs).items() if one.statements != "[]"
            }
            labels = {pair: slot.subject_label for pair, slot in tx.slots(current).items()}
            wanted = [(fact.subject, fact.relation) for fact in tx.wanted()]
        assert len(wanted) == len(set(wanted)), "a fact is doubled"
        assert self.state.audit.verify().ok
        return {"holds": current, "called": labels}


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
