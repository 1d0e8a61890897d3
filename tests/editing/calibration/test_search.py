"""The search: one hyper-parameter after the other, within its time, never the same trial twice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from editing.calibration.alternatives import windows
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
CLAMP = EditSettings().clamp
LEVERAGE = 40.0
"""The λ that `auto` stands for."""


@dataclass
class Imagined:
    """A laboratory whose results follow a formula: P[new] falls with the distance of λ from `BEST`."""

    spent: Callable[[], None] = lambda: None
    progress: Progress = silent
    takes: float = 0.0
    """Seconds that a trial is expected to take, once one was made."""
    helpful: bool = False
    """Whether a longer δ and no weight decay help together, though neither does alone."""
    lucky: float = 0.0
    """λ at which the search split, and only that, is answered perfectly."""
    asked: list[SearchPoint] = field(default_factory=list)
    checked: list[SearchPoint] = field(default_factory=list)

    def expected(self, candidate: SearchPoint, edits: Sequence[Any], untouched: Sequence[Any]) -> float:
        return self.takes if self.asked else 0.0

    def judged(self, candidate: SearchPoint, edits: Sequence[Any], untouched: Sequence[Any]) -> Judgement:
        (self.asked if edits == () else self.checked).append(candidate)
        self.spent()
        if candidate.settings.ridge:
            raise NumericalError("no ridge here")
        lam = LEVERAGE if candidate.settings.lam == AUTO else candidate.settings.lam
        share = math.exp(-abs(math.log(lam / BEST)))
        if lam == self.lucky and edits == ():
            share = 1.0
        settings = candidate.settings
        if self.helpful and not (settings.clamp == 2 * CLAMP and settings.weight_decay == 0.0):
            share *= 0.9
        return replace(GOOD, efficacy=((0, 1), (0, 1)), probability=(share, share), s=share, lam=lam)


def search(
    laboratory: Imagined, *, ends: float = math.inf, clock: Callable[[], float] = lambda: 0.0
) -> SettingsSearch:
    parts = locate_parts(gpt2(width=32, layers=4))
    return SettingsSearch(
        cast(Laboratory, laboratory),
        Split("search", (), ()),
        Split("check", cast(Any, ("another edit",)), ()),
        {},
        parts=parts,
        talks=False,
        ends=lambda: ends,
        clock=clock,
    )


START = SearchPoint(EditSettings(layers=(1,)))


def test_a_model_with_few_blocks_is_tried_with_one_layer_more_above() -> None:
    parts = locate_parts(gpt2(width=32, layers=4))

    def tried(*layers: int) -> list[tuple[int, ...]]:
        start = SearchPoint(EditSettings(layers=layers))
        return [one.settings.layers for direction in windows(start, parts) for one in direction]

    assert tried(0) == [(1,), (2,), (0, 1)]
    assert tried(1) == [(0,), (2,), (0, 1), (1, 2)]
    assert tried(1, 2) == [(0, 1), (0, 1, 2)]  # nothing above reads the last block


def test_lambda_is_found_over_orders_of_magnitude() -> None:
    found = search(Imagined()).run(START).fixed
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
    assert "lambda, finer" in {trial.stage for trial in running.trials[trials_until(running, "ridge") :]}


def test_if_the_start_cannot_be_built_the_error_is_raised() -> None:
    with pytest.raises(EditingError, match="no ridge here"):
        search(Imagined()).run(replace(START, settings=replace(START.settings, ridge=0.1)))


def trials_until(running: SettingsSearch, stage: str) -> int:
    """The number of trials up to the first one of that stage."""
    return [trial.stage for trial in running.trials].index(stage) + 1


def test_no_trial_begins_that_would_not_end_in_time_but_the_first_always_does() -> None:
    now = [100.0]

    def spent() -> None:
        now[0] += 10.0

    laboratory = Imagined(spent, takes=10.0)
    running = search(laboratory, ends=155.0, clock=lambda: now[0])
    running.run(START)
    assert now[0] <= 155.0
    assert len(laboratory.asked) + len(laboratory.checked) >= 4
    assert {one.stage for one in running.left_out} == {"search"}
    assert all(one.seconds == 20.0 for one in running.left_out)  # each on both splits
    assert any(one.what.startswith("clamp (") for one in running.left_out)
    late = Imagined()
    stopped = search(late, ends=0.0, clock=lambda: 1.0)
    assert stopped.run(START).candidate == START
    assert len(late.asked) == 1
    assert stopped.left_out


@pytest.mark.parametrize(("budget", "first"), [(100.0, "lambda"), (10_000.0, "layers")])
def test_what_reuses_residuals_comes_first_if_time_is_scarce(budget: float, first: str) -> None:
    now = [0.0]

    def spent() -> None:
        now[0] += 10.0

    running = search(Imagined(spent, takes=10.0), ends=budget, clock=lambda: now[0])
    running.run(replace(START, settings=replace(START.settings, layers=(0, 1))))
    assert next(trial.stage for trial in running.trials[1:] if trial.stage != "optimiser") == first


def test_the_result_states_lambda_as_a_number() -> None:
    assert isinstance(search(Imagined()).run(START).fixed.settings.lam, float)
    assert isinstance(search(Imagined(), ends=0.0).run(START).fixed.settings.lam, float)


def test_what_looks_better_on_the_search_split_only_is_not_taken() -> None:
    lucky = BEST * 4
    laboratory = Imagined(lucky=lucky)
    found = search(laboratory).run(START)
    assert any(one.settings.lam == lucky for one in laboratory.checked)
    assert BEST / 2 <= float(found.fixed.settings.lam) <= BEST * 2


def test_only_what_looks_better_is_checked() -> None:
    laboratory = Imagined()
    running = search(laboratory)
    running.run(START)
    assert 1 < len(laboratory.checked) < len(laboratory.asked)
    best = max(running.trials, key=lambda trial: trial.rank)
    assert best.checked is not None


def test_changes_that_help_only_together_are_found() -> None:
    found = search(Imagined(helpful=True)).run(START).fixed
    assert (found.settings.clamp, found.settings.weight_decay) == (2 * CLAMP, 0.0)
    alone = search(Imagined()).run(START).fixed
    assert (alone.settings.clamp, alone.settings.weight_decay) == (CLAMP, START.settings.weight_decay)
