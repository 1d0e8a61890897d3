"""Intervals of S: by fact, seeded, and narrower for a change on the same facts than for two scores."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from editing.calibration.intervals import rank_error, score_change, score_interval
from editing.calibration.judgement import Judgement, Scored
from tests.support.judgements import GOOD


def judged(scored: list[Scored]) -> Judgement:
    return replace(GOOD, facts=len(scored), scored=tuple(scored))


def facts(count: int, share: float, seed: int = 0) -> list[Scored]:
    """Facts whose three scores are 1 with the probability `share`."""
    generator = random.Random(seed)

    def one() -> float:
        return float(generator.random() < share)

    return [(one(), one(), one()) for _ in range(count)]


def score(scored: list[Scored]) -> float:
    means = [sum(column) / len(column) for column in zip(*scored, strict=True)]  # type: ignore[arg-type]
    return 3 / sum(1 / mean for mean in means)


def test_the_interval_contains_the_score_and_narrows_with_more_facts() -> None:
    few, many = facts(30, 0.8), facts(480, 0.8)
    for scored in (few, many):
        found = score_interval(judged(scored))
        assert found is not None
        assert found[0] < score(scored) < found[1]
    wide, narrow = score_interval(judged(few)), score_interval(judged(many))
    assert wide is not None
    assert narrow is not None
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])  # four times less, in expectation


def test_most_intervals_contain_the_true_score() -> None:
    hit = 0
    for seed in range(100):
        found = score_interval(judged(facts(60, 0.8, seed)))
        assert found is not None
        hit += found[0] <= 0.8 <= found[1]
    assert hit >= 88  # 95 expected; the facts are seeded


def test_the_same_facts_give_the_same_interval_and_another_seed_another() -> None:
    one = judged(facts(20, 0.7))
    assert score_interval(one) == score_interval(one)
    assert score_interval(one) != score_interval(one, seed=1)


def test_a_change_is_judged_on_the_same_facts() -> None:
    before = facts(60, 0.8)
    after = [(1.0, paraphrase, neighbour) for _, paraphrase, neighbour in before]
    found = score_change(judged(before), judged(after))
    assert found is not None
    assert found[0] >= 0 < found[1]
    assert score_change(judged(before), judged(before)) == (0.0, 0.0)
    low, high = score_interval(judged(before)), score_interval(judged(after))
    assert low is not None
    assert high is not None
    assert low[1] > high[0]  # the two intervals overlap, though no fact got worse


def test_facts_without_paraphrases_count_where_they_can() -> None:
    rows: list[Scored] = [(1.0, None, 1.0), (0.0, 1.0, None), (1.0, 0.5, 0.5)] * 8
    found = score_interval(judged(rows))
    assert found is not None
    assert 0 < found[0] < found[1] < 1


@pytest.mark.parametrize("scored", [[], [(1.0, None, 1.0)] * 4])
def test_where_s_does_not_apply_there_is_no_interval(scored: list[Scored]) -> None:
    assert score_interval(judged(scored)) is None


@pytest.mark.parametrize("seed", range(30))
def test_an_interval_of_two_or_three_facts_contains_the_score_too(seed: int) -> None:
    rows = [(1.0, 1.0, 1.0), *facts(2, 0.5, seed)]
    found, expected = score_interval(judged(rows)), score(rows)
    assert found is not None
    assert found[0] <= expected + 1e-12
    assert expected - 1e-12 <= found[1]


def test_a_score_of_nothing_is_zero() -> None:
    assert score_interval(judged([(0.0, 1.0, 1.0)] * 4)) == (0.0, 0.0)


def test_the_standard_error_of_a_change_of_rank_is_that_of_a_difference_of_shares() -> None:
    generator = random.Random(0)
    one, other = ([int(generator.random() < share) for _ in range(400)] for share in (0.7, 0.8))

    def with_paraphrases(right: list[int]) -> Judgement:
        some = replace(GOOD, facts=400, efficacy=((1, 1),) * 400, probability=(1.0,) * 400, scored=())
        return replace(some, paraphrase=tuple((value, 1) for value in right), s=None)

    differences = [new - old for old, new in zip(one, other, strict=True)]
    mean = sum(differences) / 400
    variance = sum((value - mean) ** 2 for value in differences) / 399
    # Paraphrases are one of two goals: ten times the mean of both.
    expected = 5 * (variance / 400) ** 0.5
    before, after = with_paraphrases(one), with_paraphrases(other)
    assert rank_error(before, after, {}) == pytest.approx(expected, rel=0.4)  # of 20 groups: 16 % by itself
    assert rank_error(before, before, {}) == 0.0


def test_each_group_that_is_left_out_takes_its_own_paraphrases_along() -> None:
    uneven = ((1, 1), (2, 2), (0, 3))
    sure = replace(
        GOOD, facts=3, efficacy=((1, 1),) * 3, probability=(1.0,) * 3, scored=(), s=None, paraphrase=uneven
    )
    before = replace(sure, paraphrase_probability=(0.5,) * 6)
    after = replace(sure, paraphrase_probability=(0.5, 0.5, 0.5, 0.8, 0.8, 0.8))
    # Without the first, second and third fact, the probability gains 0.9 / 5, 0.9 / 4 and 0; a third of ten times it.
    gains = [10 / 3 * gain for gain in (0.18, 0.225, 0.0)]
    mean = sum(gains) / 3
    expected = (2 / 3 * sum((gain - mean) ** 2 for gain in gains)) ** 0.5
    assert rank_error(before, after, {}) == pytest.approx(expected)
