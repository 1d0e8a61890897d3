"""Which votes of a judge model count, and what they change."""

from __future__ import annotations

import pytest

from editing.cost import Cost
from editing.spec import BuildReport, FactReport, Measure
from editing.undecided import FreeVerdict, RuledAnswer, UndecidedAnswer
from kbsync.gates import DEFAULT_GATES, Gate, judge_all
from kbsync.gates.bounds import paired_bound, sample_bound
from kbsync.gates.judge_record import AnswerPlace
from kbsync.gates.votes import Votes, with_votes

Rules = tuple[FreeVerdict, ...]
R: FreeVerdict = "right"
W: FreeVerdict = "wrong"
U: FreeVerdict = "undecided"
SAID = Gate("said", 0.75, "at_least", "")


def report(facts: list[Rules], live: list[Rules] | None = None, *, sampled: bool = False) -> BuildReport:
    """Free answers to `said`, by fact, as the rules find them; and live's to the same questions."""
    reports, own, before = (
        [],
        [one for rules in facts for one in rules],
        [one for rules in live or () for one in rules],
    )
    for number, rules in enumerate(facts):
        of_live = live[number] if live else (None,) * len(rules)
        left = tuple(
            UndecidedAnswer(
                "said",
                place,
                "Who?",
                "House",
                ("Anna",),
                (),
                RuledAnswer("she", one),
                other and RuledAnswer("she", other),
            )
            for place, (one, other) in enumerate(zip(rules, of_live, strict=True))
            if U in (one, other)
        )
        outcomes = {"said": tuple(one == R for one in rules)}
        reports.append(FactReport(str(number), False, "", "", True, outcomes=outcomes, undecided=left))
    measure = Measure("said", own.count(R) / len(own), len(own), own.count(R), exhaustive=not sampled)
    if live:
        measure = Measure(
            **{**_fields(measure), "live": before.count(R) / len(own), "live_k": before.count(R)}
        )
    if sampled:
        by_fact = tuple((rules.count(R), len(rules)) for rules in facts)
        pairs = tuple(
            (
                len(rules),
                sum(a == R and b != R for a, b in zip(rules, others, strict=True)),
                sum(b == R and a != R for a, b in zip(rules, others, strict=True)),
            )
            for rules, others in zip(facts, live or (), strict=False)
        )
        measure = Measure(**{**_fields(measure), "by_fact": by_fact, "pairs": pairs})
    return BuildReport("1", "b", "c", "d", tuple(reports), (measure,), Cost(), {})


def _fields(measure: Measure) -> dict[str, object]:
    return {name: getattr(measure, name) for name in Measure.__slots__}


def votes(found: dict[tuple[int, int], bool], side: str = "candidate") -> Votes:
    return {AnswerPlace(str(fact), "said", place, side): vote for (fact, place), vote in found.items()}  # type: ignore[arg-type]


def test_a_vote_makes_an_undecided_answer_right_in_the_figure_and_in_the_facts_own_outcomes() -> None:
    before = report([(R, R, U, W), (R, R, R, R)])
    counted = with_votes(before, [SAID], votes({(0, 2): True}), 0.25)
    (measure,) = counted.report.measures
    assert (measure.k, measure.n, measure.value) == (7, 8, 7 / 8)
    assert counted.report.facts[0].outcomes["said"] == (True, True, True, False)
    assert counted.notes["said"] == (
        "names leave 1 of 8 answers undecided, of which the judge finds 1 right and 0 wrong; its votes count"
    )


def test_without_votes_nothing_changes() -> None:
    before = report([(R, U), (R, R)])
    assert with_votes(before, [SAID], {}, 0.25).report == before
    assert with_votes(before, [SAID], votes({(0, 1): False}), 0.25).report == before


@pytest.mark.parametrize(
    ("facts", "found", "why"),
    [
        ([(R, R, R, U), (R, R, U, U)], {(0, 3): True, (1, 2): True, (1, 3): True}, "more than 25%"),
        ([(R, W, W, W), (R, W, R, U)], {(1, 3): True}, "the others do not pass without it"),
        ([(U, U)], {}, ""),
        ([(U, W), (W, W)], {(0, 0): True}, "the others do not pass without it"),
    ],
)
def test_a_judge_is_never_the_only_evidence(
    facts: list[Rules], found: dict[tuple[int, int], bool], why: str
) -> None:
    before = report(facts)
    counted = with_votes(before, [SAID], votes(found), 0.25)
    assert counted.report == before
    assert why in counted.notes["said"]


def test_votes_do_not_count_where_the_names_decide_no_answer_at_all() -> None:
    counted = with_votes(report([(U,), (U,)]), [SAID], votes({(0, 0): True, (1, 0): True}), 1.0)
    assert "the names decide none" in counted.notes["said"]
    assert counted.report.measures[0].k == 0


def test_a_judge_that_finds_everything_right_passes_no_gate_whose_rules_fail() -> None:
    for wrong in range(9):
        rules: Rules = (*(U,) * 2, *(W,) * wrong, *(R,) * (8 - wrong))
        before = report([rules])
        (alone,) = judge_all([SAID], with_votes(before, [SAID], {}, 0.25).report.measures)
        counted = with_votes(before, [SAID], votes({(0, 0): True, (0, 1): True}), 0.25)
        (with_it,) = judge_all([SAID], counted.report.measures)
        assert with_it.passed == ((8 - wrong) / 8 >= 0.75)
        assert with_it.passed >= alone.passed


def test_a_sample_is_compared_by_the_bound_of_the_raised_counts_by_fact() -> None:
    facts: list[Rules] = [(R, R, U, R)] + [(R, R, R, R)] * 30
    counted = with_votes(report(facts, sampled=True), [SAID], votes({(0, 2): True}), 0.25)
    (measure,) = counted.report.measures
    assert measure.by_fact[0] == (4, 4)
    (verdict,) = judge_all([SAID], [measure])
    assert verdict.bound == sample_bound(124, 124, measure.by_fact, 0.95, "at_least")


def test_against_live_the_votes_on_lives_answers_count_as_well_and_all_of_them_are_needed() -> None:
    gate = Gate("said", 0.5, "at_least", "", margin=0.05)
    facts: list[Rules] = [(R, R, U, R)] + [(R, R, R, R)] * 20
    live: list[Rules] = [(R, U, U, R)] + [(R, R, R, R)] * 20
    before = report(facts, live, sampled=True)
    own = votes({(0, 2): True})
    assert "live's are not all settled" in with_votes(before, [gate], own, 0.25).notes["said"]
    both = {**own, **votes({(0, 1): True, (0, 2): False}, "live")}
    (measure,) = with_votes(before, [gate], both, 0.25).report.measures
    assert (measure.k, measure.live_k) == (84, 83)
    assert measure.pairs[0] == (4, 1, 0)
    assert paired_bound(measure.pairs, 0.95, "at_least") <= measure.value - (measure.live or 0)  # type: ignore[operator]


def test_votes_on_a_gate_that_is_off_are_not_counted() -> None:
    off = [Gate("said", 0.5, "at_least", "", enabled=False)]
    before = report([(R, U), (R, R)])
    assert with_votes(before, off, votes({(0, 1): True}), 0.5).report == before
    assert any(gate.name == "said" for gate in DEFAULT_GATES)
