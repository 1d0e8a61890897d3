"""Sample sizes: as many cases as said, a candidate that is better by the margin passes as often as said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scipy import stats

from editing.evaluation.measures.of_facts import FACT_MEASURES
from kbsync.cli import main
from kbsync.gates import DEFAULT_GATES, Gate, wilson_bound
from kbsync.gates.power import independent_cases, sample_sizes
from kbsync.settings.sections import PlanSettings


@pytest.mark.parametrize("power", [0.8, 0.9])
@pytest.mark.parametrize(("threshold", "margin"), [(0.5, 0.1), (0.8, 0.05), (0.9, 0.03), (0.9, 0.05)])
def test_that_many_cases_pass_a_good_candidate_as_often_as_asked(
    threshold: float, margin: float, power: float
) -> None:
    def passes(n: int) -> float:
        least = next(k for k in range(n + 1) if wilson_bound(k, n, 0.95, "at_least") >= threshold)
        return float(stats.binom.sf(least - 1, n, threshold + margin))

    n = independent_cases(threshold, threshold + margin, 0.95, power)
    assert passes(n) == pytest.approx(power, abs=0.05)
    assert passes(n // 2) < power - 0.1


def test_correlated_questions_about_a_fact_are_worth_less_than_as_many_facts() -> None:
    gate = Gate("said", 0.8, "at_least", "x")
    ((one,), (four,), (same,)) = (
        sample_sizes([gate], {"said": questions}, margin=0.05, correlation=correlation)
        for questions, correlation in ((1, 0.3), (4, 0.3), (4, 1.0))
    )
    assert one.facts == one.cases
    assert one.cases / 4 < four.facts < one.facts
    assert same.facts == one.facts, "four answers that always agree are one"


def test_a_share_that_no_candidate_can_have_has_no_sample() -> None:
    assert sample_sizes(DEFAULT_GATES, {"canaries": 1, "efficacy": 1}, margin=0.06) == ()


def test_the_command_shows_the_samples_and_the_settings_that_they_need(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--home", str(tmp_path), "gates", "--power", "--margin", "0.04", "--json"])
    sizes = {one["gate"]: one for one in json.loads(capsys.readouterr().out)}
    assert {"said", "retention"} <= set(sizes)
    assert "canaries" not in sizes
    assert sizes["retention"]["cases"] == independent_cases(0.9, 0.94, 0.95, 0.9)
    with pytest.raises(SystemExit, match="0"):
        main(["--home", str(tmp_path), "gates", "--power"])
    shown = capsys.readouterr().out
    assert "retention_sample" in shown
    assert "32 at most" in shown, "robustness gates ask a sample whose size no setting changes"


def test_every_enabled_gate_on_facts_has_a_sample_size(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--home", str(tmp_path), "gates", "--power", "--json"])
    sizes = {one["gate"]: one for one in json.loads(capsys.readouterr().out)}
    assert set(sizes) == {m.name for m in FACT_MEASURES if m.gate is not None and m.gate.enabled}
    plan = PlanSettings()
    assert sizes["paraphrase"]["questions"] == plan.paraphrases
    assert sizes["distractor"]["questions"] == 2


def test_a_measure_that_names_what_limits_its_questions_names_a_setting() -> None:
    named = {one.questions for one in FACT_MEASURES if isinstance(one.questions, str)}
    assert named <= set(PlanSettings.model_fields)
