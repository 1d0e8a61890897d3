"""The capacity curve within its time: what fits is measured, and what does not is listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from editing.calibration.capacity import Point, curve
from editing.calibration.counterfactuals import Counterfactual, Split
from editing.calibration.judgement import Judgement, SearchPoint
from editing.calibration.laboratory import Laboratory
from editing.calibration.pace import LeftOut
from editing.calibration.statements import WordedTriple
from editing.progress import Progress, silent
from editing.settings import EditSettings
from tests.support.judgements import GOOD


@dataclass
class Clocked:
    """A laboratory with a clock of its own: a trial takes ten seconds and one more for each edit."""

    feared: float = 60.0
    """The seconds that the first trial is expected to take."""
    now: float = 0.0
    progress: Progress = silent
    made: list[int] = field(default_factory=list)

    def expected(self, candidate: SearchPoint, edits: Sequence[Any], untouched: Sequence[Any]) -> float:
        return 10.0 + len(edits) if self.made else self.feared

    def judged(self, candidate: SearchPoint, edits: Sequence[Any], untouched: Sequence[Any]) -> Judgement:
        self.made.append(len(edits))
        self.now += 10.0 + len(edits)
        return GOOD


def facts(count: int) -> tuple[Counterfactual, ...]:
    return tuple(
        Counterfactual(WordedTriple(f"House {number}", "owner", "Anna", ("Owner of {}:",)), "Bob", (), ())
        for number in range(count)
    )


def measured(laboratory: Clocked, seconds: float) -> tuple[list[Point], list[LeftOut]]:
    return curve(
        cast(Laboratory, laboratory),
        SearchPoint(EditSettings()),
        [Split("test", facts(30), ())],
        {},
        ends=seconds,
        clock=lambda: laboratory.now,
    )


def test_with_time_enough_every_n_is_measured() -> None:
    laboratory = Clocked()
    points, left = measured(laboratory, 1_000.0)
    assert [(point.n, point.edits) for point in points] == [(1, 12), (3, 4), (10, 1), (30, 1)]
    assert left == []


def test_repetitions_are_expected_to_take_what_the_first_of_them_took() -> None:
    # Twelve times what is feared of the first would be 720 seconds.
    points, left = measured(Clocked(), 240.0)
    assert [(point.n, point.edits) for point in points] == [(1, 12), (3, 4), (10, 1)]
    assert [(one.what, one.seconds) for one in left] == [("30 facts at once", 40.0)]


@pytest.mark.parametrize(
    ("seconds", "repetitions", "left_seconds"), [(59.0, [], 12 * 60.0), (65.0, [(1, 5)], 7 * 11.0)]
)
def test_what_is_measured_when_the_time_ends_counts(
    seconds: float, repetitions: list[tuple[int, int]], left_seconds: float
) -> None:
    points, left = measured(Clocked(), seconds)
    assert [(point.n, point.edits) for point in points] == repetitions
    assert [(one.what, one.seconds) for one in left] == [("1 facts at once, and more", left_seconds)]
