"""A source's standing on a slot: its current values, since when, and how often they went back and forth.

These are pure functions of a slot's history.  They use the source's own dates where it has them, so that
old values need not settle again at a first import.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from connectors.current import CurrentValues, read
from connectors.observations import Statement
from kbsync.admission.history import Stated

NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Standing:
    """The standing of one source on one slot."""

    source: str
    revision: int
    current: CurrentValues
    since: datetime
    """Since when the statements have been unchanged; `NEVER`: they count as settled."""
    flips: int
    """Returns to an earlier value within the flip window."""


def standings(
    history: Iterable[Stated],
    now: datetime,
    flip_windows: Mapping[str, timedelta],
    *,
    bootstrap: bool,
) -> tuple[Standing, ...]:
    """Every source's standing, sorted by name; `history` is in each source's own order, `flip_windows` by source."""
    by_source: dict[str, list[Stated]] = {}
    for observation in history:
        by_source.setdefault(observation.source, []).append(observation)
    return tuple(
        _standing(source, by_source[source], now, flip_windows[source], bootstrap=bootstrap)
        for source in sorted(by_source)
    )


def _standing(
    source: str, seen: list[Stated], now: datetime, flip_window: timedelta, *, bootstrap: bool
) -> Standing:
    current = seen[-1]
    if len(seen) == 1:
        settled = bootstrap and current.modified is None
        since = NEVER if settled else changed_at(current)
        return Standing(source, current.revision, read(current.held, now), since, 0)
    steps = [_Step(changed_at(item), item.held) for item in seen]
    return Standing(
        source,
        current.revision,
        read(current.held, now),
        _unchanged_since(steps),
        _flips(steps, now - flip_window),
    )


def expendable(
    seen: Sequence[Stated], now: datetime, flip_window: timedelta, before: datetime, needed: Collection[int]
) -> list[Stated]:
    """What one source stated before `before` and may be deleted, because the source's standing is the same without it.

    `seen`: the slot's observations of that source, in its own order; the current one always stays, and so do those
    whose revision is `needed`.
    """
    old = [
        one for one, successor in pairwise(seen) if successor.observed < before and one.revision not in needed
    ]
    while old and not _same_standing(seen, old, now, flip_window):
        old.pop()
    return old


def _same_standing(
    seen: Sequence[Stated], without: Sequence[Stated], now: datetime, flip_window: timedelta
) -> bool:
    """Whether the standing is the same, now and later, in a bootstrap or not."""
    gone = {id(one) for one in without}
    rest = [one for one in seen if id(one) not in gone]
    return all(
        _standing("", list(seen), now, flip_window, bootstrap=bootstrap)
        == _standing("", rest, now, flip_window, bootstrap=bootstrap)
        for bootstrap in (False, True)
    )


def changed_at(observation: Stated) -> datetime:
    """When the source made this revision, by its own clock; never later than we read it."""
    if observation.modified is None:
        return observation.observed
    return min(observation.modified, observation.observed)


@dataclass(frozen=True, slots=True)
class _Step:
    """One state of the slot in the source's own order."""

    at: datetime
    held: tuple[Statement, ...]


def _unchanged_since(steps: list[_Step]) -> datetime:
    """When the newest change was made that is more than a change of references."""
    newest = _signature(steps[-1].held)
    since = steps[-1].at
    for step in reversed(steps[:-1]):
        if _signature(step.held) != newest:
            break
        since = step.at
    return since


def _flips(steps: list[_Step], after: datetime) -> int:
    """The number of returns, at or after `after`, to a value that the slot had before."""
    if len(steps) < 3 or steps[-1].at < after:
        return 0
    flips = 0
    earlier: set[frozenset[str]] = set()
    last: frozenset[str] | None = None
    for step in steps:
        objects = frozenset(value.object.id for value in read(step.held, step.at).values if value.object)
        if objects != last and objects in earlier and objects and step.at >= after:
            flips += 1
        earlier.add(objects)
        last = objects
    return flips


def _signature(held: Sequence[Statement]) -> list[tuple[object, ...]]:
    """What counts as a change of the slot: everything except references and statement ids."""
    return sorted(
        (
            statement.kind,
            statement.object.id if statement.object else "",
            statement.rank,
            str(statement.start or ""),
            str(statement.end or ""),
        )
        for statement in held
    )
