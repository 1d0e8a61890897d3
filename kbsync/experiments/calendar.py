"""Sixty days of a knowledge base: every day new facts, on some days another object for an earlier one, or a retraction.

Torch-free and seeded.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kbsync.experiments.cases import EditCase

DAYS = 60
OVERWRITES, RETRACTIONS = 3, 5
"""Every so many days one earlier fact gets another object, or is retracted."""
FIRST = 5
"""Days without overwrites and retractions."""


@dataclass(frozen=True, slots=True)
class EditDay:
    """What a day changes, and what holds at its end."""

    number: int
    added: tuple[EditCase, ...]
    """New facts, and earlier ones with another object."""
    retracted: tuple[EditCase, ...]
    """Facts that hold no longer; what the base states is right again."""
    wanted: tuple[EditCase, ...]
    """All facts that hold, this day's included."""
    gone: tuple[EditCase, ...]
    """All facts that were retracted up to now."""


def calendar(cases: Sequence[EditCase], *, seed: int, days: int = DAYS) -> list[EditDay]:
    """The days; all of `cases` are added, evenly."""
    generator = random.Random(f"calendar {seed}")
    objects: dict[str, set[str]] = {}
    for case in cases:
        objects.setdefault(case.relation, set()).update(
            (case.record.request.target, str(case.record.previous))
        )
    wanted: dict[str, EditCase] = {}
    gone: dict[str, EditCase] = {}
    found = []
    for number in range(1, days + 1):
        added = list(cases[len(cases) * (number - 1) // days : len(cases) * number // days])
        retracted: list[EditCase] = []
        old = list(wanted.values())
        generator.shuffle(old)
        if number > FIRST and number % OVERWRITES == 0 and old:
            added += _overwritten(old.pop(), objects, generator)
        if number > FIRST and number % RETRACTIONS == 0 and old:
            retracted.append(old.pop())
        for case in retracted:
            gone[case.record.request.id] = wanted.pop(case.record.request.id)
        wanted |= {case.record.request.id: case for case in added}
        found.append(
            EditDay(number, tuple(added), tuple(retracted), tuple(wanted.values()), tuple(gone.values()))
        )
    return found


def _overwritten(case: EditCase, objects: dict[str, set[str]], generator: random.Random) -> list[EditCase]:
    """The fact with a third object; none if its relation has only two."""
    record = case.record
    left = sorted(objects[case.relation] - {record.request.target, record.previous or ""})
    if not left:
        return []
    new = generator.choice(left)
    changed = replace(
        record,
        request=replace(record.request, target=new),
        neighbours=tuple(pair for pair in record.neighbours if pair[1] != new),
    )
    return [replace(case, record=changed, references=())]


def reverted(case: EditCase) -> EditCase:
    """A retraction as an edit, for editors that cannot leave a fact out: back to the object that the base states."""
    record = case.record
    assert record.previous is not None
    request = replace(record.request, target=record.previous)
    return replace(case, record=replace(record, request=request, previous=record.request.target))
