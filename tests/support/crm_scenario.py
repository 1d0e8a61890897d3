"""The scenario of the connector contract that most kinds of source share."""

from __future__ import annotations

from connectors.conformance import Facts
from connectors.observations import SlotKey


class CrmScenario:
    """Accounts and their owners, in whatever kind of source; subclasses say where they are kept."""

    rereads = True

    def __init__(self) -> None:
        self.held: dict[SlotKey, frozenset[str]] = {}

    def slots(self, count: int) -> list[SlotKey]:
        return [(f"crm:{n}", "crm:owner") for n in range(1, count + 1)]

    def objects(self) -> tuple[str, str, str]:
        return "lit:Ann", "lit:Bob", "lit:Cy"

    def write(self, facts: Facts) -> None:
        self.held |= facts
        self.store(facts)

    def store(self, facts: Facts) -> None:
        raise NotImplementedError
