"""How many facts the chosen settings can hold: one edit of n facts after the other, until the time is used up.

n → S, neighbours, perplexity and what else the gates judge.  Small n are repeated with other facts, since a single
fact tells little.  The capacity is the n at which the first gate would stop passing, read between the measured n.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from editing.calibration.counterfactuals import Counterfactual, Split
from editing.calibration.judgement import Judgement, SearchPoint, margin, pooled
from editing.calibration.laboratory import Laboratory
from editing.calibration.pace import LeftOut
from editing.calibration.statements import WordedTriple

LADDER = (1, 3, 10, 30, 100, 300, 1_000)
REPEATED = 12
"""Facts that small n are measured on, in disjoint edits of n facts each."""
ASKED = 60
"""Statements about other subjects that are asked at each n."""


@dataclass(frozen=True, slots=True)
class Point:
    """n facts edited at once."""

    n: int
    edits: int
    """Disjoint edits of n facts that were measured."""
    judged: Judgement

    def passes(self, floors: Mapping[str, float]) -> bool:
        return self.worst(floors) >= 0

    def worst(self, floors: Mapping[str, float]) -> float:
        """The smallest margin of all gates; the measured share is compared, as for a view that is asked whole."""
        return min(margin(self.judged, floors).values(), default=0.0)


@dataclass(frozen=True, slots=True)
class Capacity:
    """What follows from the curve."""

    facts: int | None
    """`[plan] capacity`; None if the gates pass at no n, or at all (`at_least` is then the largest)."""
    at_least: int
    """The largest n at which every gate passes; 0 if there is none."""
    limited_by: tuple[str, ...]
    """The gates that fail at the first n that does not pass."""


def curve(
    laboratory: Laboratory,
    candidate: SearchPoint,
    splits: Sequence[Split],
    *,
    ends: float,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[list[Point], list[LeftOut]]:
    """(the points, what would not have ended by `ends`); the facts of the first split come first."""
    edits = [edit for split in splits for edit in split.edits]
    points: list[Point] = []
    sizes = [n for n in LADDER if n < len(edits)] + [len(edits)]
    for number, n in enumerate(sizes):
        repeats = max(1, min(REPEATED, len(edits)) // n)
        draws = [edits[n * index : n * (index + 1)] for index in range(repeats)]
        expected = sum(laboratory.expected(candidate, draw, _untouched(splits, draw)) for draw in draws)
        if clock() + expected > ends:
            return points, [LeftOut("capacity", f"{n} facts at once, and more", expected)]
        judged = [laboratory.judged(candidate, draw, _untouched(splits, draw)) for draw in draws]
        points.append(Point(n, repeats, pooled(judged)))
        laboratory.progress("capacity", number + 1, len(sizes))
    return points, []


def _untouched(splits: Sequence[Split], edits: Sequence[Counterfactual]) -> list[WordedTriple]:
    """Statements about subjects that `edits` do not edit."""
    own = {edit.statement.subject for edit in edits}
    asked = {one for edit in edits for one in edit.neighbours}
    found = dict.fromkeys(one for split in splits for one in split.untouched)
    return [one for one in found if one.subject not in own and one not in asked][:ASKED]


def capacity(points: Sequence[Point], floors: Mapping[str, float]) -> Capacity:
    """Where the gates stop passing: between the last n that passes before the first that fails, and that one,
    the smallest margin is interpolated over log n."""
    ordered = sorted(points, key=lambda point: point.n)
    last: Point | None = None
    for point in ordered:
        if point.passes(floors):
            last = point
            continue
        failing = tuple(name for name, value in margin(point.judged, floors).items() if value < 0)
        if last is None:
            return Capacity(None, 0, failing)
        return Capacity(_between(last, point, floors), last.n, failing)
    return Capacity(None, last.n if last else 0, ())


def _between(passing: Point, failing: Point, floors: Mapping[str, float]) -> int:
    above, below = passing.worst(floors), failing.worst(floors)
    part = above / (above - below)
    found = math.exp(math.log(passing.n) + part * (math.log(failing.n) - math.log(passing.n)))
    return max(passing.n, min(failing.n - 1, int(found)))
