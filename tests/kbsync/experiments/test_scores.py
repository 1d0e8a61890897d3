"""Scores over facts and seeds: the paper's means, and intervals by fact."""

from __future__ import annotations

import random
from dataclasses import replace
from statistics import harmonic_mean, mean

import pytest

from kbsync.experiments.scores import (
    FactScores,
    TrialScores,
    difference,
    fact_table,
    measured,
    trial_entry,
)


def fact(name: str, es: float, ps: float | None, ns: float | None) -> FactScores:
    return FactScores(
        id=name,
        relation="",
        ES=es,
        PS=ps,
        NS=ns,
        strict=es,
        strict_paraphrase=ps,
        strict_neighbour=ns,
        accuracy=es,
        accuracy_paraphrase=ps,
        specificity=ns,
    )


def trial(count: int, share: float, seed: int) -> TrialScores:
    draw = random.Random(seed)
    values = [[float(draw.random() < share) for _ in range(3)] for _ in range(count)]
    return TrialScores(tuple(fact(str(n), *row) for n, row in enumerate(values)))


def test_a_measure_is_the_mean_over_facts_and_s_the_harmonic_mean_of_three() -> None:
    scores = TrialScores((fact("a", 1, 0.5, 1), fact("b", 1, None, 0.2), fact("c", 0, 1, None)))
    found = measured([scores])
    assert found["ES"].value == pytest.approx(2 / 3, abs=1e-12)
    assert found["PS"].value == pytest.approx(0.75, abs=1e-12)  # over the facts that have paraphrases
    assert found["NS"].value == pytest.approx(0.6, abs=1e-12)
    assert found["S"].value == pytest.approx(harmonic_mean([2 / 3, 0.75, 0.6]), abs=1e-12)
    assert "GE" not in found


def test_s_is_zero_where_nothing_took() -> None:
    assert measured([TrialScores((fact("a", 0, 0, 1), fact("b", 0, 0, 1)))])["S"].value == 0


def test_an_interval_contains_its_value_and_narrows_with_more_facts() -> None:
    few, many = measured([trial(25, 0.8, 0)])["S"], measured([trial(400, 0.8, 0)])["S"]
    for one in (few, many):
        assert one.low < one.value < one.high
    assert few.high - few.low > 2 * (many.high - many.low)


def test_a_fact_that_occurs_under_several_seeds_is_one_draw() -> None:
    once = trial(40, 0.7, 1)
    twice = measured([once, once])["ES"]
    assert twice.value == pytest.approx(measured([once])["ES"].value)
    assert (twice.low, twice.high) == pytest.approx((measured([once])["ES"].low, measured([once])["ES"].high))


def test_two_editors_are_compared_on_the_same_draws() -> None:
    better = trial(60, 0.8, 2)
    worse = TrialScores(
        tuple(replace(one, ES=0.0) if n % 10 == 0 else one for n, one in enumerate(better.facts))
    )
    gap = difference([better], [worse], "ES")
    assert gap is not None
    assert gap.value == pytest.approx(
        mean(one.ES or 0 for one in better.facts) - mean(one.ES or 0 for one in worse.facts)
    )
    assert gap.low > 0
    apart = measured([better])["ES"]
    assert gap.high - gap.low < apart.high - apart.low


def test_only_the_same_facts_are_compared() -> None:
    with pytest.raises(ValueError, match="same facts"):
        difference([trial(3, 1, 0)], [trial(4, 1, 0)])


def test_the_scores_by_fact_are_stored_as_a_table_of_the_columns_that_have_values() -> None:
    scores = TrialScores((fact("a", 1, 2 / 3, None), fact("b", 0, None, None)), perplexity_ratio=1.5)
    entry = trial_entry(scores)
    assert entry["facts"] == fact_table(scores.facts)
    columns, rows = entry["facts"]["columns"], entry["facts"]["rows"]
    assert [dict(zip(columns, row, strict=True)) for row in rows] == [
        {"id": "a", "relation": "", "ES": 1, "PS": 0.666667, "strict": 1, "strict_paraphrase": 0.666667,
         "accuracy": 1, "accuracy_paraphrase": 0.666667},
        {"id": "b", "relation": "", "ES": 0, "PS": None, "strict": 0, "strict_paraphrase": None,
         "accuracy": 0, "accuracy_paraphrase": None},
    ]  # fmt: skip
    assert (entry["perplexity_ratio"], entry["error"]) == (1.5, "")
    assert "ES" not in fact_table(())["columns"]
