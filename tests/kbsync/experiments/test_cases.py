"""Counterfactual edits for experiments: nested, never judged by one another, every subject once before any twice."""

from __future__ import annotations

import pytest

from editing.errors import DataError
from kbsync.experiments.cases import EditCase, counterfactual_cases
from tests.support.experiment_facts import OWNERS, TOWNS, known


def test_every_subject_is_edited_once_before_any_is_edited_twice() -> None:
    cases = counterfactual_cases(known(), seed=0)
    turns = [sum(other.subject == case.subject for other in cases[:n]) for n, case in enumerate(cases)]
    assert turns == sorted(turns)
    assert len(cases) == 24  # a fifth of each relation is spared
    assert {case.relation for case in cases} == {"owner", "town"}  # colours have two objects only


def test_another_object_of_the_same_relation_is_wanted() -> None:
    truth = {(one.subject, one.relation): one.object for one in known()}
    for case in counterfactual_cases(known(), seed=3):
        record = case.record
        assert record.previous == truth[case.subject, case.relation]
        assert record.request.target != record.previous
        assert record.request.target in (OWNERS if case.relation == "owner" else TOWNS)


def test_no_edited_fact_judges_or_protects_another_one() -> None:
    cases = counterfactual_cases(known(), seed=1, most=8)
    edited = {case.record.request.rendered for case in cases}
    for case in cases:
        assert case.record.neighbours
        assert edited.isdisjoint(prompt for prompt, _ in case.record.neighbours)
        assert all(answer != case.record.request.target for _, answer in case.record.neighbours)
        assert edited.isdisjoint(template.format(case.subject) for template in case.protected)


def test_the_same_seed_draws_the_same_facts_and_another_seed_others() -> None:
    assert counterfactual_cases(known(), seed=0, most=8) == counterfactual_cases(known(), seed=0, most=8)
    assert counterfactual_cases(known(), seed=0, most=8) != counterfactual_cases(known(), seed=1, most=8)


def test_a_wording_that_is_edited_with_is_not_asked_as_a_paraphrase() -> None:
    case: EditCase = counterfactual_cases(known(), seed=0, most=1)[0]
    assert len(case.requests(1)) == 2
    used = {request.rendered for request in case.requests(1)}
    assert used.isdisjoint(case.paraphrases(1))
    assert len(case.paraphrases(1)) == len(case.paraphrases(0)) - 1 == 1


def test_references_are_about_others_that_have_the_new_object() -> None:
    for case in counterfactual_cases(known(), seed=2, most=8):
        assert case.references
        for text in case.references:
            assert case.record.request.target in text
            assert f"{case.subject} " not in text


def test_facts_that_cannot_be_edited_are_an_error_that_says_what_is_needed() -> None:
    with pytest.raises(DataError, match="a relation needs 3 known objects at least"):
        counterfactual_cases([one for one in known() if one.relation == "colour"], seed=0)
