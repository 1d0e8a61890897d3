"""Bounds of samples: they hold as often as they say, also where several questions are about one fact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from editing.spec import Measure
from kbsync.gates import Gate, clustered_bound, judge, paired_bound, sample_bound, wilson_bound
from kbsync.gates.earlier import sample_bound_1

SAMPLES = 1_000
FACTS = st.lists(st.integers(1, 8).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1)


def samples(p: float, correlation: float, facts: int = 200) -> list[list[tuple[int, int]]]:
    """Seeded samples of facts with one to eight questions each; a fact's answers are correlated (beta-binomial)."""
    rng = np.random.default_rng(7)
    asked = rng.integers(1, 9, size=(SAMPLES, facts))
    each: np.ndarray | float = p
    if correlation:
        scale = (1 - correlation) / correlation
        each = rng.beta(p * scale, (1 - p) * scale, size=asked.shape)
    return np.stack([rng.binomial(asked, each), asked], axis=-1).tolist()


@pytest.mark.parametrize("correlation", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("p", [0.8, 0.9, 0.95])
def test_a_95_percent_bound_by_fact_holds_in_93_to_97_percent_of_samples(
    p: float, correlation: float
) -> None:
    found = [clustered_bound(sample, 0.95, "at_least") for sample in samples(p, correlation)]
    assert 0.93 <= sum(bound <= p for bound in found) / SAMPLES <= 0.97


def test_a_bound_that_took_the_answers_for_independent_would_hold_far_less_often() -> None:
    found = [
        wilson_bound(sum(k for k, _ in sample), sum(n for _, n in sample), 0.95, "at_least")
        for sample in samples(0.9, 0.3)
    ]
    assert sum(bound <= 0.9 for bound in found) / SAMPLES < 0.9


@pytest.mark.parametrize("p", [0.8, 0.9, 0.95])
def test_with_one_question_a_fact_the_bound_is_wilson_s_and_holds(p: float) -> None:
    rng = np.random.default_rng(7)
    hits = [int(k) for k in rng.binomial(400, p, size=SAMPLES)]
    found = [sample_bound(k, 400, [(1, 1)] * k + [(0, 1)] * (400 - k), 0.95, "at_least") for k in hits]
    assert found == [wilson_bound(k, 400, 0.95, "at_least") for k in hits]
    assert 0.93 <= sum(bound <= p for bound in found) / SAMPLES <= 0.97


@given(FACTS)
def test_the_bounds_lie_around_the_proportion_and_inside_the_unit_interval(
    by_fact: list[tuple[int, int]],
) -> None:
    share = sum(k for k, _ in by_fact) / sum(n for _, n in by_fact)
    lower, upper = (clustered_bound(by_fact, 0.95, direction) for direction in ("at_least", "at_most"))
    assert 0 <= lower <= share + 1e-9
    assert share - 1e-9 <= upper <= 1


@given(FACTS)
def test_what_bounds_the_hits_from_below_bounds_the_misses_from_above(by_fact: list[tuple[int, int]]) -> None:
    misses = [(n - k, n) for k, n in by_fact]
    lower, upper = clustered_bound(by_fact, 0.95, "at_least"), clustered_bound(misses, 0.95, "at_most")
    assert lower == pytest.approx(1 - upper, abs=1e-9)


def test_facts_that_all_agree_count_once_each() -> None:
    """Thirty facts without a miss: Wilson's bound of 30 of 30, with Student's t."""
    t = stats.t.ppf(0.95, 29)
    assert clustered_bound([(4, 4)] * 30, 0.95, "at_least") == pytest.approx(30 / (30 + t**2))


def test_a_bound_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one case"):
        clustered_bound([(0, 0)], 0.95, "at_least")


def test_a_sampled_gate_is_judged_by_facts_and_not_by_questions() -> None:
    gate = Gate("paraphrase", 0.85, "at_least", "")
    spread = tuple((9, 10) for _ in range(20))
    bundled = tuple((0, 10) if fact < 2 else (10, 10) for fact in range(20))
    for by_fact, passes in ((spread, True), (bundled, False)):
        measure = Measure("paraphrase", 0.9, n=200, k=180, exhaustive=False, by_fact=by_fact)
        assert judge(gate, measure).passed is passes


@pytest.mark.parametrize("correlation", [0.1, 0.3, 0.6])
@pytest.mark.parametrize(("facts", "p"), [(20, 0.8), (30, 0.8), (30, 0.9), (60, 0.95)])
def test_it_also_holds_for_few_facts(facts: int, p: float, correlation: float) -> None:
    found = [clustered_bound(sample, 0.95, "at_least") for sample in samples(p, correlation, facts)]
    assert 0.92 <= sum(bound <= p for bound in found) / SAMPLES <= 0.98


def pairs(lost: float, gained: float, correlation: float, facts: int) -> list[list[tuple[int, int, int]]]:
    """Seeded samples of facts with four questions each, of which the candidate loses and gains these shares."""
    rng = np.random.default_rng(7)
    scale = (1 - correlation) / correlation
    own = rng.beta(lost * scale, (1 - lost) * scale, size=(SAMPLES, facts))
    gone = rng.binomial(4, own)
    found = rng.binomial(4 - gone, gained / (1 - lost))
    return np.stack([np.full_like(gone, 4), found, gone], axis=-1).tolist()


@pytest.mark.parametrize("correlation", [0.1, 0.3])
@pytest.mark.parametrize(("facts", "lost"), [(30, 0.1), (30, 0.2), (100, 0.05), (100, 0.1)])
def test_the_bound_of_a_difference_to_live_holds_in_93_to_97_percent_of_samples(
    facts: int, lost: float, correlation: float
) -> None:
    found = [paired_bound(one, 0.95, "at_least") for one in pairs(lost, lost / 2, correlation, facts)]
    assert 0.93 <= sum(bound <= -lost / 2 for bound in found) / SAMPLES <= 0.97


PAIRS = st.lists(
    st.integers(1, 6).flatmap(
        lambda n: st.integers(0, n).flatmap(
            lambda lost: st.tuples(st.just(n), st.integers(0, n - lost), st.just(lost))
        )
    ),
    min_size=1,
)


@given(PAIRS)
def test_the_bounds_of_a_difference_lie_around_it_and_turn_with_it(
    by_fact: list[tuple[int, int, int]],
) -> None:
    n, gained, lost = (sum(column) for column in zip(*by_fact, strict=True))
    lower, upper = (paired_bound(by_fact, 0.95, direction) for direction in ("at_least", "at_most"))
    assert -1 <= lower <= (gained - lost) / n + 1e-9
    assert (gained - lost) / n - 1e-9 <= upper <= 1
    turned = paired_bound([(n, lost, gained) for n, gained, lost in by_fact], 0.95, "at_most")
    assert lower == pytest.approx(-turned, abs=1e-12)


def test_a_few_questions_without_a_difference_do_not_prove_that_there_is_none() -> None:
    assert paired_bound([(4, 0, 0)] * 4, 0.95, "at_least") < -0.3
    assert paired_bound([(4, 0, 0)] * 200, 0.95, "at_least") == pytest.approx(-0.013, abs=1e-3)


def test_pairs_tell_more_than_two_shares() -> None:
    """Live and candidate each fail one in ten, but it is the same answers: the difference is known well."""
    gate = Gate("old_paraphrase", 0.5, "at_least", "", margin=0.05)
    by_fact = tuple((9, 10) for _ in range(60))
    same = tuple((10, 0, 0) for _ in range(60))
    others = tuple((10, 4, 4) if fact % 2 else (10, 0, 0) for fact in range(60))
    for pairs, passes in ((same, True), (others, False)):
        measure = Measure(
            "old_paraphrase",
            0.9,
            n=600,
            k=540,
            exhaustive=False,
            live=0.9,
            live_k=540,
            by_fact=by_fact,
            pairs=pairs,
        )
        verdict = judge(gate, measure)
        assert verdict.passed is passes
        assert "bound of the difference" in verdict.detail


def test_the_earlier_rule_gives_the_bounds_that_it_gave() -> None:
    by_fact = ((10, 10), (9, 10), (3, 6), (8, 8), (8, 10))
    assert sample_bound_1(38, 44, by_fact, 0.95, "at_least") == pytest.approx(0.6103666495005027, abs=1e-12)
    assert sample_bound_1(38, 44, by_fact, 0.95, "at_most") == pytest.approx(0.9789236570450421, abs=1e-12)
    assert sample_bound_1(9, 10, [(1, 1)] * 9 + [(0, 1)], 0.95, "at_least") == wilson_bound(
        9, 10, 0.95, "at_least"
    )
