"""Settings that are worse than those in force on the test split are never recommended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from editing.calibration.alternatives import changed
from editing.calibration.counterfactuals import Split
from editing.calibration.judgement import Judgement, SearchPoint
from editing.calibration.laboratory import Laboratory
from editing.calibration.proof import Proof, is_worse, prove
from editing.calibration.search import SettingsTrial
from editing.progress import Progress, silent
from editing.settings import AUTO, EditSettings
from tests.support.judgements import GOOD, NOTHING

START = SearchPoint(EditSettings(layers=(1,)))
FOUND = changed(START, clamp=3.0, lam=7.0)
FLOORS = {"same_subject": 0.85}


@dataclass
class Examined:
    """A laboratory in which the settings in force and those found are judged as given."""

    before: Judgement
    after: Judgement
    progress: Progress = silent

    def judged(self, candidate: SearchPoint, edits: Sequence[Any], untouched: Sequence[Any]) -> Judgement:
        return self.before if candidate == START else self.after


def proved(before: Judgement, after: Judgement, found: SearchPoint = FOUND) -> Proof:
    trial = SettingsTrial("clamp", found, {}, GOOD, 9.0, 1.0)
    laboratory = cast(Laboratory, Examined(before, after))
    return prove(laboratory, START, trial, Split("test", (), ()), FLOORS)


def test_better_settings_are_chosen() -> None:
    proof = proved(NOTHING, GOOD)
    assert (proof.chosen, proof.before, proof.after, proof.refused) == (FOUND, NOTHING, GOOD, None)


def test_the_settings_in_force_stay_if_those_found_rank_lower() -> None:
    proof = proved(GOOD, NOTHING)
    assert proof.refused == FOUND
    assert proof.before == proof.after == GOOD
    assert proof.chosen == changed(START, lam=GOOD.lam)  # what `auto` stood for
    assert START.settings.lam == AUTO


def test_equal_settings_are_not_worse() -> None:
    assert proved(GOOD, GOOD).chosen == FOUND


def test_where_the_search_found_nothing_the_settings_in_force_are_judged_once() -> None:
    proof = proved(GOOD, NOTHING, START)
    assert proof.after == GOOD
    assert proof.refused is None


def test_a_score_that_is_lower_beyond_doubt_is_worse_whatever_it_brings_elsewhere() -> None:
    before = replace(GOOD, same_subject=((0, 40),), scored=((1.0, 1.0, 1.0),) * 40, s=1.0)
    doubtful = ((1.0, 1.0, 1.0),) * 39 + ((1.0, 0.5, 1.0),)
    after = replace(before, same_subject=((40, 40),), scored=doubtful, s=0.996)
    assert not is_worse(before, after, FLOORS)
    worse = replace(after, scored=((1.0, 1.0, 1.0),) * 30 + ((1.0, 0.5, 1.0),) * 10, s=0.955)
    assert is_worse(before, worse, FLOORS)
