"""The search: one hyper-parameter after the other, within its time, never the same trial twice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from editing.calibration.counterfactuals import Split
from editing.calibration.judgement import Judgement, SearchPoint
from editing.calibration.laboratory import Laboratory
from editing.calibration.search import SettingsSearch
from editing.errors import EditingError, NumericalError
from editing.model.architectures import locate_parts
from editing.progress import Progress, silent
from editing.settings import AUTO, EditSettings
from tests.support.judgements import GOOD
from tests.support.tiny_models import gpt2

BEST = 640.0
LEVERAGE = 40.0
"""The λ that `auto` stands for."""


@dataclass
class Imagined:
    """A laboratory whose results follow a formula: P[new] falls with the distance of λ from `BEST`."""

    spent: Callable[[], None] = lambda: None
    progress: Progress = silent
    asked: list[SearchPoint] = field(default_factory=list)

    def judged(self, candidate: SearchPoint, edits: Sequence[Any], untouched: Sequence[Any]) -> Judgement:
        self.asked.append(candidate)
        self.spent()
        if candidate.settings.ridge:
            raise NumericalError("no ridge here")
        lam = LEVERAGE if candidate.settings.lam == AUTO else candidate.settings.lam
        share = math.exp(-abs(math.log(lam / BEST)))
        return replace(GOOD, efficacy=((0, 1), (0, 1)), probability=(share, share), s=share, lam=lam)


def search(
    laboratory: Imagined, *, ends: float = math.inf, clock: Callable[[], float] = lambda: 0.0
) -> SettingsSearch:
    parts = locate_parts(gpt2(width=32, layers=4))
    return SettingsSearch(
        cast(Laboratory, laboratory),
        Split("search", (), ()),
        {},
        parts=parts,
        talks=False,
        ends=ends,
        clock=clock,
    )


START = SearchPoint(EditSettings(layers=(1,)))


def test_lambda_is_found_over_orders_of_magnitude() -> None:
    found = search(Imagined()).run(START)
    assert BEST / 2 <= float(found.settings.lam) <= BEST * 2


def test_no_candidate_is_tried_twice() -> None:
    laboratory = Imagined()
    search(laboratory).run(START)
    assert all(laboratory.asked.count(one) == 1 for one in laboratory.asked)


def test_a_candidate_that_cannot_be_built_is_named_with_its_reason_and_the_search_goes_on() -> None:
    running = search(Imagined())
    running.run(START)
    failed = [trial for trial in running.trials if trial.judgement is None]
    assert {trial.stage for trial in failed} == {"ridge"}
    assert {trial.error for trial in failed} == {"no ridge here"}
    assert running.trials[-1].stage == "lambda, finer"


def test_if_the_start_cannot_be_built_the_error_is_raised() -> None:
    with pytest.raises(EditingError, match="no ridge here"):
        search(Imagined()).run(replace(START, settings=replace(START.settings, ridge=0.1)))


def test_no_trial_begins_after_the_end_but_the_first_always_does() -> None:
    now = [100.0]

    def spent() -> None:
        now[0] += 10.0

    laboratory = Imagined(spent)
    running = search(laboratory, ends=135.0, clock=lambda: now[0])
    running.run(START)
    assert len(laboratory.asked) == 4  # at 100, 110, 120 and 130
    assert running.out_of_time
    late = Imagined()
    assert search(late, ends=0.0, clock=lambda: 1.0).run(START) == START
    assert len(late.asked) == 1


def test_the_finalists_state_lambda_as_a_number_and_come_best_first() -> None:
    running = search(Imagined())
    running.run(START)
    finalists = running.best(3)
    assert all(isinstance(one.settings.lam, float) for one in finalists)
    distances = [abs(math.log(float(one.settings.lam) / BEST)) for one in finalists]
    assert distances == sorted(distances)
