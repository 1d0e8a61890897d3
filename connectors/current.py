"""Which statements of a slot are current at an instant: the single rule for facts, probes and neighbours.

Wikidata's `wdt:` triples are not enough: a statement that has ended stays "truthy" until another
statement is given the preferred rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from connectors.dates import EARLIEST
from connectors.observations import Entity, Observation, Statement, Triple

Absence = Literal["ended", "no_value", "unknown_value", "deprecated", "removed"]
"""Why a slot has no current value."""


@dataclass(frozen=True, slots=True)
class CurrentValues:
    """The current and upcoming statements of a slot at one instant."""

    values: tuple[Statement, ...]
    """The current statements, one for each object, sorted by object id."""
    upcoming: tuple[Statement, ...]
    """The best-ranked of the statements that begin later."""
    absence: Absence | None
    """Why there is no current value; None if there is one."""
    next_change: datetime | None
    """When this next changes without a change at the source: the next start or end."""


def read(held: Sequence[Statement], at: datetime) -> CurrentValues:
    """Select the statements of `held` that are current at `at`: best-ranked, begun, and not ended.

    Deprecated statements are ignored.  Dates are intervals: a statement has begun at the first instant
    that its start may mean, and has ended when the whole interval of its end has passed, or as soon as a
    successor has begun within that interval.  For example, if one chair's term ends in "2026" and
    another's starts in "2026-05", the second is current from May on.

    When every preferred statement has ended, a normal statement is current only if it began after every
    one of them began: editors set the end of an old value before they change ranks, and an old normal
    value without dates is not a successor.
    """
    valid = [statement for statement in held if statement.rank != "deprecated"]
    begun = [statement for statement in valid if _has_begun(statement, at)]
    best = _best(begun)
    last_starts = _last_starts(begun)
    current = [statement for statement in best if not _has_ended(statement, last_starts, at)]
    if best and not current and best[0].rank == "preferred":
        latest = max(_first_of_start(statement) for statement in best)
        current = [
            statement
            for statement in begun
            if statement.rank == "normal"
            and statement.start is not None
            and statement.start.first > latest
            and not _has_ended(statement, last_starts, at)
        ]
    values = _one_an_object(current)
    upcoming = _one_an_object(_best([statement for statement in valid if not _has_begun(statement, at)]))
    starts = [statement.start.first for statement in valid if statement.start is not None]
    ends = [statement.end.past for statement in valid if statement.end is not None]
    return CurrentValues(
        values,
        upcoming,
        absence=None if values else _absence(held, valid, current),
        next_change=min((moment for moment in starts + ends if moment > at), default=None),
    )


def current_triples(observations: Iterable[Observation], now: datetime) -> list[Triple]:
    """The current triples at `now` of slots with exactly one value, if that value has a label."""
    triples = []
    for observation in observations:
        objects = [statement.object for statement in read(observation.statements, now).values]
        if len(objects) == 1 and objects[0] is not None and objects[0].label:
            triples.append(Triple(observation.subject, observation.relation, objects[0]))
    return triples


def _has_begun(statement: Statement, at: datetime) -> bool:
    return statement.start is None or statement.start.first <= at


def _last_starts(begun: Iterable[Statement]) -> dict[str | None, datetime]:
    """The two objects that began last, with their starts: at least one differs from any given object."""
    found: dict[str | None, datetime] = {}
    for statement in begun:
        if statement.start is not None:
            id = _id(statement.object)
            found[id] = max(found.get(id, EARLIEST), statement.start.first)
    return dict(sorted(found.items(), key=lambda item: item[1])[-2:])


def _has_ended(statement: Statement, last_starts: Mapping[str | None, datetime], at: datetime) -> bool:
    if statement.end is None or statement.end.first > at:
        return False
    successors = (start for id, start in last_starts.items() if id != _id(statement.object))
    return statement.end.past <= at or any(start >= statement.end.first for start in successors)


def _first_of_start(statement: Statement) -> datetime:
    return statement.start.first if statement.start is not None else EARLIEST


def _id(entity: Entity | None) -> str | None:
    return entity.id if entity is not None else None


def _best(statements: Sequence[Statement]) -> list[Statement]:
    preferred = [statement for statement in statements if statement.rank == "preferred"]
    return preferred or [statement for statement in statements if statement.rank == "normal"]


def _one_an_object(chosen: Iterable[Statement]) -> tuple[Statement, ...]:
    """One statement for each object: of several, such as two terms of office, the best referenced."""
    best: dict[str, Statement] = {}
    for statement in chosen:
        if statement.object is None:
            continue
        known = best.get(statement.object.id)
        if known is None or (statement.references, known.id) > (known.references, statement.id):
            best[statement.object.id] = statement
    return tuple(best[key] for key in sorted(best))


def _absence(held: Sequence[Statement], valid: Sequence[Statement], current: Sequence[Statement]) -> Absence:
    kinds = {statement.kind for statement in current}
    if "somevalue" in kinds:
        return "unknown_value"
    if "novalue" in kinds:
        return "no_value"
    if valid:
        return "ended"
    return "deprecated" if held else "removed"
