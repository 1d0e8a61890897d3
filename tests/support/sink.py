"""The smallest ledger that obeys the border's rules, to see what a connector makes of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from connectors.observations import Connector, Entity, Observation, Poll, SlotKey, Statement
from state.records import GONE
from state.revision_spans import Numbering


class Sink:
    """Commits each step with its cursor; a later revision replaces, an older or equal one does not."""

    def __init__(self) -> None:
        self.cursor: str | None = None
        self.slots: dict[SlotKey, Observation] = {}
        self._numbering: dict[SlotKey, Numbering] = {}
        self.labels: dict[str, str | None] = {}
        self.moved: dict[str, str] = {}
        self.steps = 0
        self.recorded = 0

    def commit(self, poll: Poll) -> None:
        self.steps += 1
        self.cursor = poll.cursor or self.cursor
        for old, new in poll.redirects:
            self.moved[old] = new
            for subject, relation in [slot for slot in self.slots if slot[0] == old]:
                self.slots.setdefault((new, relation), self.slots.pop((subject, relation)))
                self._numbering.setdefault((subject, relation), Numbering()).number(GONE)
        self._name(poll.labels)
        for observation in poll.observations:
            self._record(observation)
            self._name([observation.subject, *(s.object for s in observation.statements if s.object)])

    def _record(self, observation: Observation) -> None:
        """By the numbers that the ledger gives: what is late stays so, what comes back does."""
        slot = observation.subject.id, observation.relation
        stored = self.slots.get(slot)
        if stored is None and not observation.statements:
            return
        numbering = self._numbering.setdefault(slot, Numbering())
        newest = numbering.newest
        number = numbering.number(GONE if observation.gone else observation.revision)
        if newest is None or newest < number:
            self.recorded += 1
            self.slots[slot] = observation

    def _name(self, entities: Iterable[Entity]) -> None:
        self.labels |= {entity.id: entity.label for entity in entities if entity.label is not None}

    def drain(self, connector: Connector, at_most: int | None = None) -> int:
        """Poll and commit, `at_most` so many steps (then as if killed); how many steps there were."""
        before = self.steps
        for poll in _some(connector.poll(self.cursor), at_most):
            self.commit(poll)
        return self.steps - before

    def statements(self) -> dict[SlotKey, tuple[Statement, ...]]:
        """What each slot holds in the end; empty slots are left out."""
        return {slot: seen.statements for slot, seen in sorted(self.slots.items()) if seen.statements}

    def values(self, relation: str = "wdt:P6") -> dict[str, tuple[str, ...]]:
        """Object ids by subject."""
        return {
            subject: tuple(sorted(s.object.id for s in statements if s.object))
            for (subject, of), statements in self.statements().items()
            if of == relation
        }


def _some(polls: Iterator[Poll], at_most: int | None) -> Iterator[Poll]:
    for number, poll in enumerate(polls, 1):
        yield poll
        if number == at_most:
            return
