"""How many facts the chosen settings can hold: one edit of n facts after the other, until the time is used up.

n → S, neighbours, perplexity and what else the gates judge.  Small n are repeated with other facts, since a single
fact tells little.  The capacity is the n at which the first gate would stop passing, read between the measured n.

It is asked what a run asks.  Unlike in the search, the subjects' other relations are all protected by the optimisation,
and all asked, and neighbours that are edited together with the fact are left out.  Otherwise both would fail their
gates at a fraction of what a run can hold.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from editing.calibration.counterfactuals import Counterfactual, Split
from editing.calibration.judgement import Judgement, SearchPoint, margin, pooled
from editing.calibration.laboratory import Laboratory
from editing.calibration.pace import LeftOut
from editing.calibration.statements import WordedTriple

LADDER = (1, 3, 10, 30, 100, 300, 1_000)
REPEATED = 12
"""Facts that small n are measured on, in disjoint edits of n facts each."""
REFINED = 2
"""Numbers of facts that are measured between those of the ladder, where the capacity is."""
ASKED = 300
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
    floors: Mapping[str, float],
    *,
    ends: float,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[list[Point], list[LeftOut]]:
    """(the points, what would not have ended by `ends`); the facts of the first split come first.

    A small n is measured on fewer facts if the time ends meanwhile.  After the ladder, `REFINED` further n are measured
    between the last that passes and the first that does not.
    """
    edits = [edit for split in splits for edit in split.edits]
    points: list[Point] = []
    sizes = [n for n in LADDER if n < len(edits)] + [len(edits)]
    for number in range(len(sizes) + REFINED):
        n = sizes[number] if number < len(sizes) else between(points, floors)
        if n is None:
            break
        repeats = max(1, min(REPEATED, len(edits)) // n)
        draws = [as_one_view(edits[n * index : n * (index + 1)]) for index in range(repeats)]
        judged, expected = _in_time(laboratory, candidate, splits, draws, ends=ends, clock=clock)
        if judged:
            points.append(Point(n, len(judged), pooled(judged)))
        if expected:
            more = ", and more" if number + 1 < len(sizes) else ""
            return _ordered(points), [LeftOut("capacity", f"{n} facts at once{more}", expected)]
        laboratory.progress("capacity", number + 1, max(number + 1, len(sizes)))
    return _ordered(points), []


def _in_time(
    laboratory: Laboratory,
    candidate: SearchPoint,
    splits: Sequence[Split],
    draws: Sequence[Sequence[Counterfactual]],
    *,
    ends: float,
    clock: Callable[[], float],
) -> tuple[list[Judgement], float]:
    """(the draws that were judged by `ends`, seconds that the others would take).

    Whether there is time is asked before each: what the first takes tells most about the next.
    """
    judged: list[Judgement] = []
    for draw in draws:
        untouched = _untouched(splits, draw)
        expected = laboratory.expected(candidate, draw, untouched)
        if clock() + expected > ends:
            return judged, max(expected, 1.0) * (len(draws) - len(judged))
        judged.append(laboratory.judged(candidate, draw, untouched))
    return judged, 0.0


def between(points: Sequence[Point], floors: Mapping[str, float]) -> int | None:
    """The geometric mean of the first n that fails and of the n before it; None if there is nothing between."""
    ordered = _ordered(points)
    fails = next((at for at, point in enumerate(ordered) if not point.passes(floors)), 0)
    if not fails:
        return None
    low, high = ordered[fails - 1].n, ordered[fails].n
    middle = round(math.sqrt(low * high))
    return middle if low < middle < high else None


def _ordered(points: Sequence[Point]) -> list[Point]:
    return sorted(points, key=lambda point: point.n)


def as_one_view(edits: Sequence[Counterfactual]) -> list[Counterfactual]:
    """`edits` as one view: what it asks about each of them."""
    changed = {(edit.statement.subject, edit.statement.relation) for edit in edits}
    return [
        replace(
            edit,
            as_in_run=True,
            neighbours=tuple(one for one in edit.neighbours if (one.subject, one.relation) not in changed),
        )
        for edit in edits
    ]


def _untouched(splits: Sequence[Split], edits: Sequence[Counterfactual]) -> list[WordedTriple]:
    """Statements about subjects that `edits` do not edit."""
    own = {edit.statement.subject for edit in edits}
    asked = {one for edit in edits for one in edit.neighbours}
    found = dict.fromkeys(one for split in splits for one in split.untouched)
    return [one for one in found if one.subject not in own and one not in asked][:ASKED]


def capacity(points: Sequence[Point], floors: Mapping[str, float]) -> Capacity:
    """Where the gates stop passing: between the last n that passes before the first that fails, and that one,
    the smallest margin is interpolated over log n."""
    ordered = _ordered(points)
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
