"""Statements that a model may know, and counterfactual edits of them in three splits by subject."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from editing.calibration.counterfactuals import FURTHER, counterfactuals, parts_of
from editing.calibration.statements import WordedTriple, common_knowledge, digest, from_records
from editing.datasets import read_records
from editing.errors import DataError
from editing.memit.groups import without_conflicts
from tests.support import taught_facts

COMMON = common_knowledge()


def test_the_common_knowledge_is_enough_and_each_wording_names_its_subject_once() -> None:
    assert len(COMMON) >= 300
    assert len({(one.subject, one.relation) for one in COMMON}) == len(COMMON)
    for one in COMMON:
        assert len(one.templates) >= 3
        assert all(template.count("{}") == 1 and template == template.rstrip() for template in one.templates)
        assert one.question.count("{}") == 1
        assert one.question.endswith("?")


def test_a_facts_file_gives_the_previous_object_and_its_paraphrases_as_wordings(tmp_path: Path) -> None:
    file = tmp_path / "facts.jsonl"
    file.write_text(
        '{"subject": "Italy", "prompt": "The capital of {} is", "target": "Oslo", "previous": "Rome",'
        ' "paraphrases": ["Italy has the capital", "What is it?"]}\n',
        encoding="utf-8",
    )
    (one,) = from_records(read_records(file))
    assert one == WordedTriple(
        "Italy", "The capital of {} is", "Rome", ("The capital of {} is", "{} has the capital")
    )


def test_no_subject_is_in_two_splits_and_none_is_edited_twice() -> None:
    splits = counterfactuals(COMMON, seed=0)
    subjects = [edit.statement.subject for split in splits.values() for edit in split.edits]
    assert len(subjects) == len(set(subjects))
    assert [len(splits[name].edits) for name in ("search", "check", "test")] == [24, 51, 60]


def test_the_new_object_is_another_subjects_of_the_same_relation() -> None:
    objects = {(one.relation, one.object) for one in COMMON}
    for split in counterfactuals(COMMON, seed=1).values():
        for edit in split.edits:
            assert edit.object != edit.statement.object
            assert (edit.statement.relation, edit.object) in objects


def test_what_judges_an_edit_is_not_what_it_changes() -> None:
    for split in counterfactuals(COMMON, seed=2).values():
        own = {edit.statement.subject for edit in split.edits}
        assert all(one.subject not in own for one in split.untouched)
        for edit in split.edits:
            assert all(one.subject != edit.statement.subject for one in edit.neighbours)
            assert all(one.object != edit.object for one in edit.neighbours)
            assert all(one.relation != edit.statement.relation for one in edit.same_subject)
            assert not set(edit.judged) & set(edit.protected)


def test_no_neighbour_is_edited_in_its_own_split() -> None:
    of_one_relation = [
        WordedTriple(f"Village {number}", "river", f"River {number % 5}", ("The river of {} is",))
        for number in range(60)
    ]
    for known in (COMMON, of_one_relation):
        for split in counterfactuals(known, seed=0).values():
            changed = {(edit.statement.subject, edit.statement.relation) for edit in split.edits}
            assert all(
                (one.subject, one.relation) not in changed for edit in split.edits for one in edit.neighbours
            )
            assert all(
                len(edit.neighbours) == 5 for edit in split.edits if edit.statement.relation == "river"
            )


def test_no_two_edits_of_a_split_contradict_each_other() -> None:
    for split in counterfactuals(COMMON, seed=3).values():
        requests = [edit.request(variant) for edit in split.edits for variant in (0, 1)]
        assert without_conflicts(requests, None) == requests


def test_splits_depend_on_the_facts_and_the_seed_only() -> None:
    assert counterfactuals(COMMON[::-1], seed=0) == counterfactuals(COMMON, seed=0)
    assert counterfactuals(COMMON, seed=1) != counterfactuals(COMMON, seed=0)
    assert digest(COMMON[::-1]) == digest(COMMON) != digest(COMMON[1:])


def test_too_few_known_facts_are_an_error_that_says_what_to_do() -> None:
    few = [one for one in COMMON if one.relation == "capital"][:4]
    with pytest.raises(DataError, match=r"only 4 subjects .* give more facts .* --facts"):
        counterfactuals(few, seed=0)


def test_a_relation_with_one_object_cannot_be_edited() -> None:
    alike = [WordedTriple(name, "owner", "Anna", ("Owner of {}:",)) for name in taught_facts.SUBJECTS]
    with pytest.raises(DataError, match="only 0 subjects"):
        counterfactuals(alike, seed=0)


def test_as_in_a_run_all_other_relations_are_protected_and_asked() -> None:
    (edit, *_) = (one for one in counterfactuals(COMMON, seed=0)["test"].edits if len(one.same_subject) > 1)
    assert set(edit.judged) | set(edit.protected) == set(edit.same_subject)
    run = replace(edit, as_in_run=True)
    assert run.judged == run.protected == edit.same_subject


def test_subjects_that_no_split_has_room_for_are_left_for_the_capacity() -> None:
    relations = {one.relation: one for one in COMMON}
    many = [
        replace(one, subject=f"{one.subject} {number}", object=f"{one.object} {number % 7}")
        for one in relations.values()
        for number in range(40)
    ]
    splits = counterfactuals(many, seed=0)
    taken = [len(splits[name].edits) for name in ("search", "check", "test")]
    assert taken == [24, 60, 60]
    assert sum(taken) + len(splits[FURTHER].edits) == len({one.subject for one in many})


@pytest.mark.parametrize(
    ("edits", "sizes"), [(201, [60, 60, 60]), (90, [45, 45]), (56, [56]), (29, []), (0, [])]
)
def test_what_is_left_over_is_divided_into_parts_of_about_as_many_as_are_checked(
    edits: int, sizes: list[int]
) -> None:
    one = counterfactuals(COMMON, seed=0)["search"]
    further = replace(one, edits=tuple(replace(one.edits[0], object=str(number)) for number in range(edits)))
    parts = parts_of(further)
    assert [len(part.edits) for part in parts] == sizes
    together = [edit for part in parts for edit in part.edits]
    assert together == list(further.edits[: sum(sizes)])
