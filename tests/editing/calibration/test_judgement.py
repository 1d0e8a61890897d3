"""What the search maximises, and the capacity that follows from a curve."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from editing.calibration.capacity import Point, as_one_view, between, capacity
from editing.calibration.counterfactuals import counterfactuals
from editing.calibration.judgement import Judgement, margin, pooled, rank
from editing.calibration.kept import Kept
from editing.calibration.statements import common_knowledge
from tests.support.judgements import GOOD, NOTHING

FLOORS = {"efficacy": 0.95, "same_subject": 0.85, "perplexity_ratio": 1.05, "said": 0.8}


def test_a_gate_that_cannot_be_judged_has_no_margin() -> None:
    assert margin(GOOD, FLOORS).keys() == {"efficacy", "same_subject", "perplexity_ratio"}
    said = replace(GOOD, said=((1, 1), (0, 1)))
    assert margin(said, FLOORS)["said"] == pytest.approx(-0.3)


def test_ratios_are_bounded_from_above_and_shares_from_below() -> None:
    worse = replace(GOOD, perplexity_ratio=1.25, same_subject=((1, 2), (1, 2)))
    assert margin(worse, FLOORS)["perplexity_ratio"] == pytest.approx(-0.2)
    assert margin(worse, FLOORS)["same_subject"] == pytest.approx(-0.35)
    assert rank(worse, FLOORS) == pytest.approx(rank(GOOD, FLOORS) - 5 * 0.2 - 0.35)


def test_the_growth_that_one_edit_accounts_for_is_what_counts() -> None:
    grown = replace(GOOD, facts=8, weight_growth=3.0)
    expected = pytest.approx(1.5 - 2**0.5)
    assert margin(grown, {"weight_growth": 1.5})["weight_growth"] == expected
    assert margin(pooled([grown, grown]), {"weight_growth": 1.5})["weight_growth"] == expected


def test_editing_nothing_is_never_better_than_edits_that_harm_something() -> None:
    harmful = replace(GOOD, same_subject=((0, 2), (0, 2)), perplexity_ratio=1.5)
    assert rank(NOTHING, FLOORS) < rank(harmful, FLOORS)


def test_paraphrases_are_not_given_up_for_as_many_of_the_subjects_other_relations() -> None:
    kept = replace(GOOD, paraphrase=((1, 2), (1, 2)), same_subject=((4, 4), (4, 4)))
    said = replace(GOOD, paraphrase=((2, 2), (2, 2)), same_subject=((2, 4), (2, 4)))
    assert rank(said, FLOORS) > rank(kept, FLOORS)


def test_the_subjects_other_relations_decide_between_settings_that_are_alike_otherwise() -> None:
    losing = replace(GOOD, same_subject=((1, 2), (1, 2)))
    assert rank(losing, FLOORS) < rank(GOOD, FLOORS)


def test_of_settings_that_answer_alike_the_more_probable_is_better() -> None:
    sure = replace(GOOD, paraphrase_probability=(0.9, 0.9, 0.8, 0.9))
    unsure = replace(GOOD, paraphrase_probability=(0.6, 0.5, 0.4, 0.5))
    assert rank(unsure, FLOORS) < rank(sure, FLOORS)


def test_a_damaged_model_is_not_the_price_of_a_better_score() -> None:
    better = replace(GOOD, s=1.0, perplexity_ratio=1.3)
    assert rank(better, FLOORS) < rank(GOOD, FLOORS)


def test_facts_that_are_not_stated_yet_count_with_their_probability() -> None:
    nearer = replace(NOTHING, probability=(0.4, 0.1))
    assert rank(NOTHING, FLOORS) < rank(nearer, FLOORS) < rank(GOOD, FLOORS)


def test_several_edits_are_pooled_by_fact() -> None:
    both = pooled([GOOD, NOTHING])
    assert both.facts == 4
    assert both.efficacy == ((1, 1), (1, 1), (0, 1), (0, 1))
    assert both.s == pytest.approx(0.48)


def with_same_subject(share: int) -> Judgement:
    return replace(GOOD, same_subject=((share, 100),))


def test_the_capacity_is_where_the_first_gate_stops_passing() -> None:
    points = [Point(1, 1, with_same_subject(95)), Point(100, 1, with_same_subject(75)), Point(10, 1, GOOD)]
    found = capacity(points, {"same_subject": 0.85})
    # Margins +0.15 at 10 and -0.10 at 100: 10 · 10^(0.15 / 0.25).
    assert (found.facts, found.at_least, found.limited_by) == (39, 10, ("same_subject",))


def test_a_capacity_that_was_not_reached_is_only_known_to_be_at_least_that() -> None:
    found = capacity([Point(1, 1, GOOD), Point(30, 1, GOOD)], FLOORS)
    assert (found.facts, found.at_least, found.limited_by) == (None, 30, ())


def test_gates_that_pass_at_no_number_of_facts_give_no_capacity() -> None:
    found = capacity([Point(1, 1, NOTHING), Point(3, 1, GOOD)], FLOORS)
    assert (found.facts, found.at_least, found.limited_by) == (None, 0, ("efficacy",))


def test_a_kept_result_is_read_back_whole_and_a_damaged_one_counts_as_absent(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    key = kept.key({"candidate": 1})
    assert kept.get(key, Judgement) is None
    kept.put(key, GOOD)
    assert kept.get(key, Judgement) == GOOD
    file = tmp_path / f"{key}.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(content | {"result": content["result"].replace("0.96", "0.99")}), "utf-8")
    assert kept.get(key, Judgement) is None


def test_one_view_does_not_ask_a_neighbour_that_it_edits() -> None:
    splits = counterfactuals(common_knowledge(), seed=0)
    edits = [*splits["test"].edits, *splits["check"].edits]
    changed = {(edit.statement.subject, edit.statement.relation) for edit in edits}
    asked = [(one.subject, one.relation) for edit in edits for one in edit.neighbours]
    together = as_one_view(edits)
    assert changed & set(asked), "otherwise this shows nothing"
    assert [
        one for edit in together for one in edit.neighbours if (one.subject, one.relation) in changed
    ] == []
    assert sum(len(edit.neighbours) for edit in together) == sum(pair not in changed for pair in asked)
    assert all(edit.as_in_run for edit in together)


def test_the_next_number_lies_between_the_last_that_passes_and_the_first_that_fails() -> None:
    fine, bad = with_same_subject(95), with_same_subject(75)
    points = [Point(1, 1, fine), Point(100, 1, bad), Point(300, 1, fine), Point(30, 1, fine)]
    assert between(points, {"same_subject": 0.85}) == 55
    assert between([Point(10, 1, fine), Point(11, 1, bad)], {"same_subject": 0.85}) is None
    assert between([Point(10, 1, fine)], {"same_subject": 0.85}) is None
    assert between([Point(10, 1, bad)], {"same_subject": 0.85}) is None
