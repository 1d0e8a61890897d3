"""The real ledger behind the smallest interface of a sink: commit a poll, say what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from connectors.observations import Connector, Poll
from kbsync.admission.policy import Policy
from kbsync.catalogue.relations import load_catalogue
from kbsync.intake.pull import Intake
from state import State

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
