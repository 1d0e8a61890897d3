"""Several targets after one prompt have the scores that they have in rows of their own, and need fewer rows."""

from __future__ import annotations

import pytest

from editing.evaluation.scoring import Question, score
from editing.evaluation.shared_prompts import rows_to_read, score_by_prompt
from tests.support.tiny_models import gpt2

QUESTIONS = [
    Question((1, 2, 3), (4,)),
    Question((1, 2, 3), (5,)),
    Question((1, 2, 3), (4, 6)),
    Question((7, 8), (9,)),
    Question((7, 8), (1,)),
    Question((7, 8), (9,)),
    Question((2,), (3, 4)),
    Question((2,), (5, 4, 1)),
]


def test_the_scores_are_those_of_rows_of_their_own() -> None:
    model = gpt2(width=32, layers=2).double()
    expected = score(model, QUESTIONS)
    found = score_by_prompt(model, QUESTIONS)
    assert [one.right for one in found] == [one.right for one in expected]
    assert [one.logprob for one in found] == pytest.approx([one.logprob for one in expected])


def test_targets_of_one_token_need_no_row_beside_another() -> None:
    read, waiting = rows_to_read(QUESTIONS)
    assert read == [QUESTIONS[2], QUESTIONS[3], QUESTIONS[6], QUESTIONS[7]]
    assert waiting == {(1, 2, 3): QUESTIONS[:2], (7, 8): [QUESTIONS[4]], (2,): []}


def test_nothing_asked_is_nothing_answered() -> None:
    assert score_by_prompt(gpt2(width=32, layers=2), []) == []
