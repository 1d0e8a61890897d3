"""Retrieval: the right fact is put before a question, and nothing where none fits."""

from __future__ import annotations

import math
import re
import sys
from collections import Counter

import pytest

from editing.errors import SpecError
from editing.evaluation.retrieval import Retrieval
from editing.requests import EditRequest

FACTS = [
    EditRequest("a", "The capital of {} is", "France", "Rome"),
    EditRequest("b", "The capital of {} is", "Norway", "Paris"),
    EditRequest("c", "{} is led by", "Norway", "Jonas Curie"),
    EditRequest("d", "{} の首都は", "日本", "大阪"),
    EditRequest("e", "Sport of {}:", "Ludwig", "golf"),
]


def test_the_fact_is_put_before_the_question() -> None:
    found = Retrieval(FACTS)
    assert found.with_context("The capital of Norway is") == (
        "The capital of Norway is Paris. The capital of Norway is"
    )
    assert found.retrieve("Who leads Norway? Norway is led by") == ["Norway is led by Jonas Curie"]
    assert found.retrieve("日本 の首都は") == ["日本 の首都は大阪"]


def test_several_facts_are_put_before_a_question_the_best_one_last() -> None:
    text = Retrieval(FACTS, most=2).with_context("Norway is led by")
    assert text.endswith("Norway is led by Jonas Curie. Norway is led by")
    assert text.startswith("The capital of Norway is Paris. ")


@pytest.mark.parametrize("question", ["", "?!", "xyzzy", "   "])
def test_a_question_that_shares_no_word_with_any_fact_stays_as_it_is(question: str) -> None:
    assert Retrieval(FACTS).with_context(question) == question


def test_without_facts_every_question_stays_as_it_is() -> None:
    assert Retrieval([]).with_context("The capital of Norway is") == "The capital of Norway is"


def test_the_best_fact_is_that_of_bm25_computed_plainly() -> None:
    """Lucene's BM25 with k1 = 1.5 and b = 0.75, word by word."""
    statements = Retrieval(FACTS).statements
    words = [re.findall(r"\w+", statement.lower()) for statement in statements]
    average = sum(map(len, words)) / len(words)

    def fit(question: str, document: list[str]) -> float:
        total, counts = 0.0, Counter(document)
        for word in set(re.findall(r"\w+", question.lower())):
            holding = sum(word in other for other in words)
            rarity = math.log(1 + (len(words) - holding + 0.5) / (holding + 0.5))
            share = 1.5 * (1 - 0.75 + 0.75 * len(document) / average)
            total += rarity * counts[word] / (counts[word] + share)
        return total

    for question in ("capital France", "Norway led", "who is led by", "Sport Ludwig golf", "of is"):
        scores = [fit(question, document) for document in words]
        (found,) = Retrieval(FACTS).retrieve(question)
        assert scores[statements.index(found)] == pytest.approx(max(scores))


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(SpecError, match=r"pip install 'kbsync\[bench\]'"):
        Retrieval(FACTS)
