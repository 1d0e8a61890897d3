"""What edits should leave alone: other relations and other subjects, in words that do not judge them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from editing.spec import FactSpec
from kbsync.catalogue.relations import load_catalogue
from kbsync.runs.kept import with_kept
from tests.support.facts import fact as numbered


def relation(name: str, kind: str) -> dict[str, object]:
    templates = [f"The {name} of {{}} is", f"{name}, {{}}:", f"About {{}} ({name}):", f"{name} in {{}} -"]
    return {
        "label": name,
        "subject_type": kind,
        "templates": templates,
        "questions": [f"What is the {name} of {{}}?", f"Which {name} has {{}}?"],
    }


CATALOGUE = load_catalogue(
    {
        "x:capital": relation("capital", "land"),
        "x:language": relation("language", "land"),
        "x:river": relation("river", "land"),
        "x:spouse": relation("spouse", "human"),
    }
)
LANGUAGE = ("language, {}:", "About {} (language):")
RIVER = ("river, {}:", "About {} (river):")


def kept(*facts: tuple[str, str, bool]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """(templates, questions) of each (subject, relation, known)."""
    stored = [replace(numbered(n), subject=s, relation=r) for n, (s, r, _) in enumerate(facts, start=1)]
    specs = [FactSpec(str(n), "{} is", s, "o", known=known) for n, (s, _, known) in enumerate(facts)]
    return [(spec.kept, spec.kept_questions) for spec in with_kept(specs, stored, CATALOGUE)]


def test_relations_of_the_same_kind_of_subject_are_kept_in_words_that_judge_nothing() -> None:
    questions = ("What is the language of {}?", "What is the river of {}?")
    assert kept(("italy", "x:capital", False)) == [((*LANGUAGE, *RIVER), questions)]


def test_a_relation_that_is_edited_for_the_same_subject_is_not_kept() -> None:
    found = kept(("italy", "x:capital", False), ("italy", "x:river", False), ("peru", "x:capital", False))
    assert [templates for templates, _ in found] == [LANGUAGE, LANGUAGE, (*LANGUAGE, *RIVER)]


def test_a_relation_that_the_base_states_unedited_is_kept() -> None:
    found = kept(("italy", "x:capital", False), ("italy", "x:river", True))
    assert [templates for templates, _ in found] == [(*LANGUAGE, *RIVER), ()]


def test_of_an_edited_relation_the_facts_that_the_base_states_are_kept() -> None:
    found = kept(("italy", "x:capital", False), ("peru", "x:capital", True))
    assert found[1] == (("capital, {}:", "About {} (capital):"), ("What is the capital of {}?",))


def test_a_sample_of_many_facts_that_the_base_states_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kbsync.runs.kept.MOST_KNOWN", 3)
    known = [(f"land {number}", "x:capital", True) for number in range(9)]
    found = kept(("italy", "x:capital", False), *known)
    assert sum(bool(templates) for templates, _ in found[1:]) == 3


def test_nothing_is_kept_for_a_relation_that_the_catalogue_no_longer_has() -> None:
    assert kept(("italy", "x:gone", False)) == [((), ())]
