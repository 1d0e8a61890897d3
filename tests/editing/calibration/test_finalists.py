"""Of what a search found, the best few are compared on further facts, where there are some and time is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from editing.calibration.alternatives import changed
from editing.calibration.counterfactuals import Counterfactual, Split
from editing.calibration.finalists import FINALISTS, decided
from editing.calibration.judgement import Judgement, SearchPoint
from editing.calibration.laboratory import Laboratory
from editing.calibration.search import SettingsSearch, SettingsTrial
from editing.errors import NumericalError
from editing.model.architectures import locate_parts
from editing.progress import Progress, silent
from editing.settings import EditSettings
from tests.support.judgements import GOOD
from tests.support.tiny_models import gpt2

FACTS = 40
BEST = SearchPoint(EditSettings(layers=(1,), lam=100.0))
LONGER = changed(BEST, clamp=3.0)
SHORTER = changed(BEST, clamp=0.3)
FURTHER = [Split("further 1", cast(tuple[Counterfactual, ...], ("more",)), ())]


def judged(stated: int, s: float) -> Judgement:
    """A judgement of `FACTS` edits, `stated` of which are answered by all paraphrases."""
    right = tuple((int(index < stated), 1) for index in range(FACTS))
    scored = ((1.0, s, 1.0),) * FACTS
    blank = replace(GOOD, facts=FACTS, efficacy=((1, 1),) * FACTS, probability=(1.0,) * FACTS)
    return replace(blank, paraphrase=right, scored=scored, s=s)


@dataclass
class Measured:
    """A laboratory in which each candidate is judged as given on the facts of the search, and on further ones."""

    candidates: Sequence[SearchPoint]
    seen: Sequence[Judgement]
    further: Sequence[Judgement | None]
    takes: float = 1.0
    progress: Progress = silent
    asked: list[SearchPoint] = field(default_factory=list)

    def expected(self, candidate: SearchPoint, edits: Sequence[Any], untouched: Sequence[Any]) -> float:
        return self.takes

    def judged(self, candidate: SearchPoint, edits: Sequence[Any], untouched: Sequence[Any]) -> Judgement:
        number = self.candidates.index(candidate)
        if not edits:
            return self.seen[number]
        self.asked.append(candidate)
        found = self.further[number]
        if found is None:
            raise NumericalError("not here")
        return found


def measured(best: Judgement | None, longer: Judgement | None) -> Measured:
    """Two candidates that are alike on the facts of the search, and judged as given on further ones."""
    return Measured((BEST, LONGER), (judged(36, 0.9), judged(36, 0.9)), (best, longer))


def searched(laboratory: Measured, ends: float = math.inf) -> tuple[SettingsSearch, SettingsTrial]:
    """A search that has tried and checked all candidates, and its best trial: the first."""
    trials = [
        SettingsTrial("stage", candidate, {}, found, 9.0 - number / 100, 1.0, checked=9.0 - number / 100)
        for number, (candidate, found) in enumerate(zip(laboratory.candidates, laboratory.seen, strict=True))
    ]
    search = SettingsSearch(
        cast(Laboratory, laboratory),
        Split("search", (), ()),
        Split("check", (), ()),
        {},
        parts=locate_parts(gpt2(width=32, layers=4)),
        talks=False,
        ends=lambda: ends,
        clock=lambda: 0.0,
        trials=trials,
    )
    return search, trials[0]


def test_what_only_seemed_best_gives_way_to_what_is_better_on_further_facts() -> None:
    laboratory = measured(judged(20, 0.8), judged(38, 0.9))
    chosen, finalists = decided(*searched(laboratory), FURTHER)
    assert chosen.candidate == LONGER
    assert [one.trial.candidate for one in finalists] == [LONGER, BEST]
    assert finalists[0].facts == 3 * FACTS
    assert finalists[1].behind > finalists[1].error > 0


def test_of_settings_that_rank_alike_the_one_with_the_higher_score_is_chosen() -> None:
    laboratory = measured(judged(36, 0.90), judged(35, 0.92))
    search, best = searched(laboratory)
    chosen, finalists = decided(search, best, FURTHER)
    assert [one.trial.candidate for one in finalists] == [BEST, LONGER]
    assert finalists[1].behind <= finalists[1].error
    assert chosen.candidate == LONGER


def test_a_higher_score_does_not_make_up_for_a_rank_that_is_lower_beyond_the_error() -> None:
    laboratory = measured(judged(40, 0.90), judged(20, 0.95))
    assert decided(*searched(laboratory), FURTHER)[0].candidate == BEST


def test_only_the_best_of_each_kind_of_delta_that_is_not_clearly_worse_is_judged_further() -> None:
    other_lambda, hopeless = changed(BEST, lam=400.0), SHORTER
    kinds = [changed(BEST, clamp=1.0 + number) for number in range(FINALISTS + 2)]
    candidates = [BEST, other_lambda, *kinds, hopeless]
    alike = [judged(36, 0.9)] * len(candidates)
    laboratory = Measured(candidates, [*alike[:-1], judged(2, 0.3)], alike)
    _, finalists = decided(*searched(laboratory), FURTHER)
    assert len(finalists) == len(laboratory.asked) == FINALISTS
    assert BEST in laboratory.asked
    assert other_lambda not in laboratory.asked
    assert hopeless not in laboratory.asked


@pytest.mark.parametrize(("further", "ends"), [(FURTHER, 1.5), ([], math.inf)])
def test_without_time_or_further_facts_the_best_trial_stays(further: list[Split], ends: float) -> None:
    laboratory = measured(judged(36, 0.9), judged(36, 0.9))
    search, best = searched(laboratory, ends)
    assert decided(search, best, further) == (best, [])
    assert not laboratory.asked
    assert [one.what for one in search.left_out] == ["the best 2 candidates on 1 further facts"] * len(
        further
    )


def test_a_finalist_that_cannot_be_built_is_not_chosen() -> None:
    laboratory = measured(None, judged(20, 0.8))
    assert decided(*searched(laboratory), FURTHER)[0].candidate == LONGER
    search, best = searched(measured(None, None))
    assert decided(search, best, FURTHER) == (best, [])
