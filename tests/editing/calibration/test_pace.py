"""What a trial is expected to take: never less than its like did, and never forever because the first one was slow."""

from __future__ import annotations

from dataclasses import replace

from editing.calibration.alternatives import changed
from editing.calibration.counterfactuals import Counterfactual
from editing.calibration.judgement import SearchPoint
from editing.calibration.pace import TrialPace
from editing.calibration.statements import WordedTriple
from editing.settings import EditSettings

START = SearchPoint(EditSettings(layers=(1, 2), chat=False))


def edits(count: int, split: str = "search") -> list[Counterfactual]:
    return [
        Counterfactual(WordedTriple(f"{split} {number}", "town", "Rome", ("{} is in",)), "Oslo", (), ())
        for number in range(count)
    ]


def test_nothing_is_known_before_the_first_trial() -> None:
    assert TrialPace().expected(START, edits(10)) == 0.0


def test_trials_that_reuse_residuals_are_told_from_those_that_do_not() -> None:
    pace = TrialPace()
    pace.add(START, edits(10), 30.0)
    assert pace.expected(changed(START, lam=3.0), edits(10)) == 30.0  # never measured: as long as more work
    pace.add(changed(START, clamp=2.0), edits(10), 20.0)
    pace.add(changed(START, lam=3.0), edits(10), 5.0)
    assert pace.expected(changed(START, lam=4.0, ridge=0.1, keep=0.2), edits(10)) == 5.0
    assert pace.expected(changed(START, layers=(2,)), edits(10)) == 5.0  # its δs enter at the same layer
    assert pace.expected(changed(START, clamp=3.0), edits(10)) == 20.0
    assert pace.expected(changed(START, layers=(2, 3)), edits(10)) == 30.0
    assert pace.expected(changed(START, lam=4.0), edits(10, "check")) == 20.0


def test_a_trial_tells_what_one_that_reuses_its_residuals_will_take() -> None:
    pace = TrialPace()
    pace.add(START, edits(10), 30.0, reusable=0.75)
    assert pace.expected(changed(START, lam=3.0), edits(10)) == 7.5
    assert pace.expected(changed(START, clamp=2.0), edits(10)) == 30.0
    pace.add(changed(START, lam=3.0), edits(10), 9.0)
    assert pace.expected(changed(START, lam=4.0), edits(10)) == 9.0  # what was measured counts


def test_more_edits_and_more_wordings_take_longer_and_fewer_edits_not_surely_less() -> None:
    pace = TrialPace()
    pace.add(START, edits(1, "one"), 8.0)
    pace.add(changed(START, clamp=2.0), edits(10), 20.0)
    other = changed(START, clamp=3.0)
    assert pace.expected(other, edits(40)) == 80.0
    assert pace.expected(other, edits(5)) == 20.0
    assert pace.expected(replace(other, variants=1), edits(10)) == 40.0
    pace.add(other, edits(1, "two"), 6.0)  # most of what a trial of one edit costs is not the edit's
    assert pace.expected(changed(START, clamp=4.0), edits(40)) == 80.0


def test_the_slowest_of_the_recent_trials_counts_and_a_trial_counts_once() -> None:
    pace = TrialPace()
    for number, seconds in enumerate((90.0, 9.0, 11.0, 10.0)):
        pace.add(changed(START, clamp=1.0 + number), edits(10), seconds)
    pace.add(changed(START, clamp=1.0), edits(10), 90.0)
    assert pace.expected(changed(START, clamp=9.0), edits(10)) == 11.0
