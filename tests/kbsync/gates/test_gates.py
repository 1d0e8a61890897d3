"""Gates: what passes, what fails, and who is to blame."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from editing.spec import BuildReport, FactReport, Measure
from kbsync.gates import (
    DEFAULT_GATES,
    Gate,
    blame,
    judge,
    judge_all,
    standing,
    systematic,
    wilson_bound,
)

EFFICACY = Gate("efficacy", 0.9, "at_least", "")
(GROWTH,) = (gate for gate in DEFAULT_GATES if gate.name == "weight_growth")


def report(*facts: FactReport) -> BuildReport:
    return BuildReport("1-1", "base", "out", "digest", facts, (), {}, {})


def fact(
    id: str, *, efficacy: bool = True, known: bool = False, paraphrases: tuple[bool, ...] = ()
) -> FactReport:
    outcomes = {"efficacy": (efficacy,), "paraphrase": paraphrases}
    return FactReport(id, known, "old", "new" if efficacy else "old", efficacy, True, outcomes)


def test_a_missing_measure_fails() -> None:
    assert not judge(EFFICACY, None).passed


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_not_a_finite_number_fails(value: float | None) -> None:
    verdict = judge(EFFICACY, Measure("efficacy", value, n=10, k=10))
    assert not verdict.passed
    assert "not a number" in verdict.detail


def test_every_case_looked_at_compares_the_count() -> None:
    assert judge(EFFICACY, Measure("efficacy", 0.9, n=10, k=9)).passed
    assert not judge(EFFICACY, Measure("efficacy", 0.8, n=10, k=8)).passed


def test_a_sample_compares_its_confidence_bound() -> None:
    sampled = judge(EFFICACY, Measure("efficacy", 0.9, n=10, k=9, exhaustive=False))
    assert not sampled.passed
    assert sampled.bound is not None
    assert sampled.bound < 0.9
    assert judge(EFFICACY, Measure("efficacy", 0.95, n=1000, k=950, exhaustive=False)).passed


def test_a_sample_without_counts_fails() -> None:
    assert not judge(EFFICACY, Measure("efficacy", 0.99, exhaustive=False)).passed


@pytest.mark.parametrize("exhaustive", [True, False])
def test_a_gate_without_cases_is_not_judged_and_has_a_finite_value(exhaustive: bool) -> None:
    verdict = judge(EFFICACY, Measure("efficacy", None, n=0, k=0, exhaustive=exhaustive))
    assert verdict.passed
    assert standing(verdict) == "not judged"
    assert "not judged" in verdict.detail
    assert verdict.value is not None
    assert math.isfinite(verdict.value)


def test_a_required_gate_without_cases_fails() -> None:
    verdict = judge(replace(EFFICACY, required=True), Measure("efficacy", None, n=0, k=0))
    assert standing(verdict) == "failed"
    assert "required" in verdict.detail


@pytest.mark.parametrize(
    "measure",
    [Measure("efficacy", 0.95, n=20, k=19), Measure("efficacy", 1.0), Measure("efficacy", 1.0, n=3)],
)
def test_a_gate_with_a_figure_is_judged(measure: Measure) -> None:
    assert standing(judge(EFFICACY, measure)) == "passed"
    assert standing(judge(replace(EFFICACY, threshold=1.1), measure)) == "failed"


def test_at_most_gates_turn_the_comparison_round() -> None:
    gate = Gate("perplexity_ratio", 1.05, "at_most", "")
    assert judge(gate, Measure("perplexity_ratio", 1.04)).passed
    assert not judge(gate, Measure("perplexity_ratio", 1.06)).passed


def test_worse_than_live_by_more_than_the_margin_fails_although_the_threshold_holds() -> None:
    gate = Gate("retention", 0.9, "at_least", "", margin=0.02)
    assert judge(gate, Measure("retention", 0.95, n=100, k=95, live=0.96, live_k=96)).passed
    verdict = judge(gate, Measure("retention", 0.95, n=100, k=95, live=0.99, live_k=99))
    assert not verdict.passed
    assert "worse than live" in verdict.detail


def test_every_enabled_gate_gets_a_verdict_whatever_was_measured() -> None:
    verdicts = judge_all(DEFAULT_GATES, [])
    assert [v.name for v in verdicts] == [g.name for g in DEFAULT_GATES if g.enabled]
    assert not any(v.passed for v in verdicts)


@given(st.integers(1, 5_000), st.data())
def test_the_wilson_bounds_lie_around_the_proportion_and_inside_the_unit_interval(
    n: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(0, n))
    lower, upper = wilson_bound(k, n, 0.95, "at_least"), wilson_bound(k, n, 0.95, "at_most")
    assert -1e-12 <= lower <= k / n + 1e-12
    assert k / n - 1e-12 <= upper <= 1 + 1e-12


def test_the_wilson_bound_agrees_with_a_published_value() -> None:
    # Two-sided 95 % interval of 81 in 263: (0.2553, 0.3662) (Newcombe, Stat. Med. 17, 1998, Table I).
    assert wilson_bound(81, 263, 0.975, "at_least") == pytest.approx(0.2553, abs=5e-5)
    assert wilson_bound(81, 263, 0.975, "at_most") == pytest.approx(0.3662, abs=5e-5)


def test_only_new_edited_facts_are_blamed_and_the_worst_come_first() -> None:
    seen = report(
        fact("old", efficacy=False),
        fact("known", efficacy=False, known=True),
        fact("good", paraphrases=(True, True)),
        fact("half", paraphrases=(True, False)),
        fact("bad", efficacy=False, paraphrases=(False, False)),
    )
    gates = (EFFICACY, Gate("paraphrase", 0.8, "at_least", ""))
    verdicts = judge_all(gates, [Measure("efficacy", 0.5, n=2, k=1), Measure("paraphrase", 0.4, n=10, k=4)])
    blamed = blame(seen, verdicts, new={"known", "good", "half", "bad"})
    assert [item.fact for item in blamed] == ["bad", "half"]
    assert blamed[0].gate == "efficacy"


def test_no_more_facts_are_blamed_than_the_threshold_asks_for() -> None:
    seen = report(
        *(fact(f"good{n:02d}") for n in range(18)), fact("bad1", efficacy=False), fact("bad2", efficacy=False)
    )
    gates = (Gate("efficacy", 0.94, "at_least", ""),)
    verdicts = judge_all(gates, [Measure("efficacy", 0.9, n=20, k=18)])
    assert [item.fact for item in blame(seen, verdicts, {f.id for f in seen.facts})] == ["bad1"]


def test_facts_below_a_gate_that_passed_are_not_blamed() -> None:
    seen = report(fact("bad", efficacy=False), fact("good"))
    verdicts = judge_all((Gate("efficacy", 0.5, "at_least", ""),), [Measure("efficacy", 0.5, n=2, k=1)])
    assert blame(seen, verdicts, new={"bad", "good"}) == ()


def test_a_failure_of_the_whole_candidate_is_systematic() -> None:
    gate = Gate("perplexity_ratio", 1.05, "at_most", "")
    verdicts = judge_all((gate,), [Measure("perplexity_ratio", 3.0)])
    assert "no single fact is to blame" in (systematic(DEFAULT_GATES, verdicts, blamed=0, new=50) or "")


def test_a_run_where_most_of_what_is_new_is_bad_is_systematic() -> None:
    verdicts = judge_all((EFFICACY,), [Measure("efficacy", 0.1, n=10, k=1)])
    assert systematic(DEFAULT_GATES, verdicts, blamed=9, new=10) is not None
    assert systematic(DEFAULT_GATES, verdicts, blamed=2, new=10) is None


def test_a_whole_gate_that_failed_says_what_to_do() -> None:
    verdicts = judge_all((GROWTH,), [Measure("weight_growth", 2.1, 1)])
    reason = systematic(DEFAULT_GATES, verdicts, blamed=0, new=5)
    assert reason is not None
    assert "[gates.weight_growth]" in reason


def test_only_gates_that_blame_no_facts_carry_advice() -> None:
    assert {gate.name for gate in DEFAULT_GATES if gate.advice} == {
        "aliases",
        "reversed",
        "symmetric",
        "two_hop",
        "fluency",
        "perplexity_ratio",
        "kl_median",
        "kl_p99",
        "weight_growth",
        "refused",
    }
    assert not any(gate.advice and gate.judges_facts for gate in DEFAULT_GATES)


@pytest.mark.parametrize("gate", [gate for gate in DEFAULT_GATES if gate.judges_facts], ids=lambda g: g.name)
def test_every_gate_on_facts_blames_the_facts_that_failed_it_with_a_sentence(gate: Gate) -> None:
    good = FactReport("good", False, "old", "new", True, outcomes={gate.name: (True, True)})
    bad = FactReport("bad", False, "old", "old", False, outcomes={gate.name: (False, True)})
    verdicts = judge_all((replace(gate, threshold=0.9, enabled=True),), [Measure(gate.name, 0.75, n=4, k=3)])
    (blamed,) = blame(report(good, bad), verdicts, new={"good", "bad"})
    assert (blamed.fact, blamed.gate, blamed.shortfall) == ("bad", gate.name, pytest.approx(0.4))
    assert blamed.evidence


def test_a_gate_is_described_in_plain_values() -> None:
    described = [gate.described() for gate in DEFAULT_GATES]
    assert json.loads(json.dumps(described)) == described
    assert {one["name"]: one["judges"] for one in described}["retention"] == "candidate"


def test_the_growth_of_a_small_model_with_five_facts_passes_by_default() -> None:
    assert judge(GROWTH, Measure("weight_growth", 1.575, 5)).passed


@pytest.mark.parametrize(
    ("growth", "edits"), [(1.07, 1), (1.88, 8), (2.50, 20), (4.39, 60), (6.81, 100), (1.0, 0)]
)
def test_the_growth_that_good_edits_of_a_small_model_add_up_to_passes(growth: float, edits: int) -> None:
    assert judge(GROWTH, Measure("weight_growth", growth, edits)).passed


@pytest.mark.parametrize(("growth", "edits"), [(1.98, 1), (5.31, 4), (8.71, 20), (17.4, 60)])
def test_the_growth_of_edits_with_settings_that_are_wrong_is_rejected(growth: float, edits: int) -> None:
    verdict = judge(GROWTH, Measure("weight_growth", growth, edits))
    assert not verdict.passed
    assert verdict.value == growth
    assert verdict.bound == pytest.approx(math.sqrt(1 + (growth**2 - 1) / edits))
    assert verdict.detail == f"{growth:.3f} with {edits} edits is {verdict.bound:.3f} an edit"


ABLE = Measure("is_true", 0.9, n=10, k=9, chance=0.5, ability_by_fact=((2, 2),) * 10)


@pytest.mark.parametrize("ability", [(), ((1, 2),) * 16, ((2, 2), (1, 2), (1, 2))])
def test_a_measure_that_the_base_itself_answers_by_chance_is_not_judgeable(
    ability: tuple[tuple[int, int], ...],
) -> None:
    gate = Gate("is_true", 0.6, "at_least", "what is confirmed")
    assert standing(judge(gate, ABLE)) == "passed"
    for value, k in ((0.9, 9), (0.1, 1)):
        verdict = judge(gate, replace(ABLE, value=value, k=k, ability_by_fact=ability))
        assert standing(verdict) == "not judgeable"
        assert "not judgeable on this base" in verdict.detail
        assert (verdict.value, verdict.bound) == (value, None)
    required = judge(replace(gate, required=True), replace(ABLE, ability_by_fact=ability))
    assert standing(required) == "failed"
