"""Which statements of a slot hold at an instant: the one rule for facts, probes and neighbours.

Wikidata's `wdt:` triples are no help: an ended statement stays "truthy" as long as nobody gave another
one the preferred rank.
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
class Reading:
    """The statements of a slot as they count at one instant."""

    values: tuple[Statement, ...]
    """Current ones, one for each object, sorted by object id."""
    upcoming: tuple[Statement, ...]
    """The best-ranked of those that begin later."""
    absence: Absence | None
    """Set if there is no current value."""
    next_change: datetime | None
    """When time alone changes this reading: the next start or end."""


def read(held: Sequence[Statement], at: datetime) -> Reading:
    """What the statements `held` say at the instant `at`: best rank, not deprecated, begun, not ended.

    Dates are intervals.  A statement has begun from the first instant that its start may mean, and has
    ended when the whole interval of its end has passed, or as soon as a successor has begun within it:
    of two chairs, one until "2026" and one from "2026-05", the second holds from May on.

    When every preferred statement has ended, a normal one counts only if it began after the last of
    them did: editors set the end of an old value before they change ranks, and an old normal value
    without dates is no successor.
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
    return Reading(
        values,
        upcoming,
        absence=None if values else _absence(held, valid, current),
        next_change=min((moment for moment in starts + ends if moment > at), default=None),
    )


def current_triples(observations: Iterable[Observation], now: datetime) -> list[Triple]:
    """What holds at `now`, of slots with exactly one value that has a label."""
    triples = []
    for observation in observations:
        objects = [statement.object for statement in read(observation.statements, now).values]
        if len(objects) == 1 and objects[0] is not None and objects[0].label:
            triples.append(Triple(observation.subject, observation.relation, objects[0]))
    return triples


def _has_begun(statement: Statement, at: datetime) -> bool:
    return statement.start is None or statement.start.first <= at


def _last_starts(begun: Iterable[Statement]) -> dict[str | None, datetime]:
    """The last two objects to begin, with when: one of them is another object than any given one."""
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
    """Of several statements with one object (two terms of office) the best referenced."""
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
