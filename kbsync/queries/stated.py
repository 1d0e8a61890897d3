"""What sources state about a slot, statement by statement, with labels: the evidence that a reviewer weighs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from connectors.dates import Interval
from connectors.observations import LITERAL, Statement
from kbsync.intake import statements
from state import Snapshot
from state.records import StoredObservation


@dataclass(frozen=True, slots=True)
class StatedValue:
    """One statement of a source."""

    id: str
    object: str
    """The value's id; empty for "no value" and "some value"."""
    label: str
    """How people name it."""
    rank: str
    start: str
    """When it began to hold, at the source's precision; empty if the source does not say."""
    end: str
    references: int


@dataclass(frozen=True, slots=True)
class StatedSlot:
    """All that a source stated about a slot from one revision on."""

    observation: StoredObservation
    values: tuple[StatedValue, ...]
    """Empty: the source states nothing there (any more)."""

    def of(self, object: str) -> tuple[StatedValue, ...]:
        """The statements of this value."""
        return tuple(value for value in self.values if value.object == object)


def stated(tx: Snapshot, observations: Sequence[StoredObservation]) -> tuple[StatedSlot, ...]:
    """The observations with their statements; labels are those that the ledger has now."""
    loaded = [statements.load(one.statements) for one in observations]
    labels = _labels(tx, (statement for each in loaded for statement in each))
    return tuple(
        StatedSlot(one, tuple(_value(statement, labels) for statement in each))
        for one, each in zip(observations, loaded, strict=True)
    )


def _labels(tx: Snapshot, found: Iterable[Statement]) -> dict[str, str]:
    ids = {one.object.id for one in found if one.object is not None}
    named = tx.entities({id for id in ids if not id.startswith(LITERAL)})
    return {id: entity.label or id for id, entity in named.items()}


def _value(statement: Statement, labels: dict[str, str]) -> StatedValue:
    id = statement.object.id if statement.object is not None else ""
    named = {"novalue": "no value", "somevalue": "an unknown value"}.get(statement.kind)
    return StatedValue(
        statement.id,
        id,
        named or labels.get(id, id.removeprefix(LITERAL)),
        statement.rank,
        _date(statement.start),
        _date(statement.end),
        statement.references,
    )


def _date(interval: Interval | None) -> str:
    """A day where it is no more than that, else both ends or the instant."""
    if interval is None:
        return ""
    first, *past = (
        text.removesuffix("T00:00:00+00:00").replace("+00:00", " UTC") for text in str(interval).split("/")
    )
    return " to ".join((first, *past))
