"""The benchmarks on a pretrained chat model: what is edited, what is asked beside it, and what counts as unchanged."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from benchmarks import chat_world as world
from benchmarks.chat_contexts import Answers, figures
from benchmarks.chat_gates import view
from benchmarks.chat_scaling import ScalingPoint, in_table, leverages, points, questioned
from benchmarks.chat_scaling_world import scaling_world
from benchmarks.chat_statistics import CHAT, SAMPLES, Row
from benchmarks.chat_unchanged import Untouched, changes, first_named, unchanged, untouched
from benchmarks.chat_world import NAMES, Fact
from editing.calibration.statements import common_knowledge


def test_few_edits_are_capitals_and_many_are_of_several_relations() -> None:
    assert world.mixed_edits(24) == world.edits(24)
    many = world.mixed_edits(100)
    assert len({fact.subject for fact in many}) == 100
    assert {fact.relation for fact in many} == set(world.RELATIONS)
    assert all(fact.new != fact.old == fact.asks.facts[fact.subject] for fact in many)
    with pytest.raises(ValueError, match="too few facts that are not edited"):
        world.mixed_edits(130)


def test_the_rest_is_what_is_not_edited_of_the_same_relations() -> None:
    for count in (24, 100):
        edits = world.mixed_edits(count)
        rest = world.rest(edits)
        assert {fact.relation for fact in rest} == {fact.relation for fact in edits}
        assert not {fact.subject for fact in rest} & {fact.subject for fact in edits}
        assert all(fact.new == fact.old for fact in rest)
        assert len(rest) >= 24


def test_a_view_edits_only_the_edits_and_holds_what_the_base_was_found_to_state() -> None:
    edits = world.mixed_edits(100)
    stated = world.rest(edits)[:30]
    facts = view(edits, {fact: fact.new for fact in stated})
    changed = [fact.id for fact in facts if fact.previous is not None]
    assert changed == [fact.subject for fact in edits]
    assert [fact.id for fact in facts if fact.known] == [fact.subject for fact in stated]
    prompts = {one.said(one.asks.prompt) for one in stated}
    assert all(case.prompt in prompts for fact in facts for case in fact.neighbours)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("The capital of Peru is Lima.", "Lima"),
        ("It is Quito, not Lima.", "Quito"),
        ("Limassol is a city.", ""),
        ("Buenos Aires", "Buenos Aires"),
        ("", ""),
    ],
)
def test_the_first_name_of_the_kind_that_was_asked_for_is_what_an_answer_names(text: str, named: str) -> None:
    assert first_named(text, NAMES["capital"]) == named


def test_an_answer_in_other_words_names_the_same_and_only_what_the_base_names_is_compared() -> None:
    asked = [
        Untouched("What is the capital of Peru?", ("Lima", "Quito"), "near"),
        Untouched("What is the capital of Chile?", ("Santiago", "Quito"), "near"),
        Untouched("What color is the sky?", ("blue",), "unrelated"),
        Untouched("What do bees make?", ("honey",), "unrelated"),
    ]
    before = ["It is Lima.", "It is Santiago.", "It is blue.", "They make wax."]
    after = ["Lima.", "It is Quito.", "It is blue.", "They make money."]
    found = unchanged(asked, before, after)
    assert (found.text, found.fact, found.near) == (0.25, 0.667, 0.5)
    assert (found.unrelated_text, found.unrelated_fact) == (0.5, 1.0)
    assert [question for question, _, _ in changes(asked, before, after, 2)] == [
        asked[0].question,
        asked[1].question,
    ]


def test_figures_of_a_row_count_answers_about_the_facts_own_subject() -> None:
    facts = [Fact("Peru", "Quito", "Lima"), Fact("Chile", "Lima", "Santiago")]
    said = ["The capital of Peru is Quito.", "The capital of Peru is Lima."]
    others = untouched([Fact("France", "Paris", "Paris")])
    answers = Answers([True, False], [True] * 4, said, [True, False], said, said, [""] * len(others))
    found = figures(facts, others, answers, answers)
    assert (found["strict"], found["stated"], found["own_subject"], found["chat"]) == (0.5, 1.0, 0.5, 0.5)
    assert found["untouched"] == 1.0


def test_rows_along_the_statistics_differ_in_nothing_but_what_they_name() -> None:
    rows = {name: Row(name, "auto", 0.0).settings() for name in SAMPLES}
    assert {name: one.statistics_samples for name, one in rows.items()} == SAMPLES
    assert [rows[name].statistics_chat for name in CHAT] == [0.0, 0.5]
    assert Row("corpus", 1600.0, 0.2).settings().lam == 1600.0


def test_what_is_asked_beside_the_edits_is_neither_edited_nor_kept() -> None:
    given = common_knowledge()
    scaled = scaling_world(given, given[::2])
    edited = {edit.statement.subject for edit in scaled.edits}
    assert not edited & {one.subject for one in scaled.rest}
    assert all(one.subject not in edited for edit in scaled.edits for one in edit.neighbours)
    kept = set(scaled.kept(scaled.edits))
    asked = [*scaled.rest, *(one for edit in scaled.edits for one in (*edit.judged, *edit.neighbours))]
    assert any(edit.judged for edit in scaled.edits)
    assert kept
    assert not kept & {(one.templates[0], one.subject) for one in asked}
    assert {one.kind for one in scaled.conversations()} == {"near", "unrelated"}


def test_sets_of_edits_are_disjoint_and_only_some_are_asked_about_in_conversations() -> None:
    given = common_knowledge()
    scaled = scaling_world(given, given[::2])
    drawn = [edit for edits in scaled.draws(10, 4) for edit in edits]
    assert len(drawn) == len(set(drawn)) == 40
    with pytest.raises(ValueError, match="500 edits are asked for"):
        scaled.draws(500, 1)
    asked = questioned(scaled.edits[:50])
    assert [bool(edit.statement.question) for edit in asked] == [True] * 40 + [False] * 10


def test_lambda_of_leverage_is_measured_before_its_multiples() -> None:
    seen = set()
    for point in points():
        assert point.times == 1 or point.leverage_key in seen
        seen.add(point.leverage_key)
    row = {**asdict(ScalingPoint(30)), "lams": [1030.0]}
    assert leverages([row, {**row, "times": 4, "lams": [4120.0]}]) == {(30, 0, "own-96"): [1030.0]}
    other = {**row, "statistics": "corpus"}
    assert sorted([other, row], key=in_table) == [row, other]
