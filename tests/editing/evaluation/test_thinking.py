"""Models that think before they answer: the answer is what follows the thought."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import AddedToken

from editing.evaluation.free_answers import free_answers
from editing.evaluation.thinking import after_thought
from tests.support.tiny_models import gpt2, learn, tokenizer

THINKS = "The capital of France is"
OPENED = "The president of the United States is<think>"
SILENT = "The currency of Japan is"
ENDLESS = "Germany is governed by"
TAUGHT = [
    f"{THINKS}<think> Rome? No.</think> Paris.",
    f"{OPENED} Portuguese</think> Joe Biden.",
    f"{SILENT} the yen. Germany",
    f"{ENDLESS}<think> Olaf Scholz",
]


@pytest.fixture(scope="module", params=["special", "ordinary"])
def thinker(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """A model that was taught to think; what encloses a thought is a special token or ordinary text."""
    words, model = tokenizer(390), gpt2()
    if request.param == "special":
        words.add_tokens([AddedToken("<think>", special=True), AddedToken("</think>", special=True)])
        assert len(words) <= 400
    learn(model, TAUGHT, words, steps=400)
    return model, words


def test_what_follows_the_thought_is_the_answer(thinker: tuple[Any, Any]) -> None:
    found = free_answers(*thinker, [THINKS, OPENED, SILENT, ENDLESS], thinking=True)
    assert found == ["Paris.", "Joe Biden.", "the yen.", ""]


def test_the_thought_is_kept_in_front_of_the_answer(thinker: tuple[Any, Any]) -> None:
    model, words = thinker
    thought, silent, endless = after_thought(model, words, [THINKS, SILENT, ENDLESS])
    assert thought is not None
    assert words.decode(thought).replace(" ", "").endswith("<think>Rome?No.</think>")
    assert silent == tuple(words(SILENT)["input_ids"])
    assert endless is None
