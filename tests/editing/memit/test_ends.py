"""The token that ends an answer as part of a target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from editing.errors import RequestError
from editing.memit.ends import with_ends
from editing.memit.groups import form_groups
from editing.model.chat import asked
from editing.requests import EditRequest
from tests.support import tiny_models
from tests.support.builds import REQUESTS, SETTINGS, built
from tests.support.chat import CHATML
from tests.support.zoo import TEXT

Which = Literal["none", "questions", "all"]
CAPITAL = EditRequest("a", "The capital of {} is", "Italy", "Paris")


def chatting() -> Any:
    found = tiny_models.tokenizer()
    found.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    found.chat_template = CHATML
    return found


@pytest.mark.parametrize(
    ("which", "completion", "question"),
    [("none", None, None), ("questions", None, "<|im_end|>"), ("all", "<|endoftext|>", "<|im_end|>")],
)
def test_a_completion_ends_with_eos_and_a_question_with_the_end_of_its_turn(
    which: Which, completion: str | None, question: str | None
) -> None:
    tokenizer = chatting()
    talk = EditRequest("b", asked(tokenizer, "What is the capital of {}?"), "Italy", "It is Paris.")
    ends = [request.end for request in with_ends(tokenizer, [CAPITAL, talk], which)]
    assert ends == [token and tokenizer.convert_tokens_to_ids(token) for token in (completion, question)]


def test_the_end_is_predicted_after_the_target_and_is_part_of_the_key() -> None:
    tokenizer = chatting()
    plain, ended = (
        form_groups(tokenizer, [request], prefixes=("Yes",), kl_prompts={"Italy": ["{} has"]}, identity={})[0]
        for request in (CAPITAL, replace(CAPITAL, end=7))
    )
    assert plain.key != ended.key
    for before, after in zip(plain.terms, ended.terms, strict=True):
        more = () if before.kl else (7,)
        assert after.text == replace(before.text, ids=(*before.text.ids, *more))


def test_a_tokenizer_without_eos_says_how_to_go_on() -> None:
    tokenizer = tiny_models.tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(RequestError, match='set `end_token = "none"`'):
        with_ends(tokenizer, [CAPITAL], "all")
    assert with_ends(tokenizer, [CAPITAL], "questions") == [CAPITAL], "it is no question"


def test_only_targets_that_end_are_optimised_again(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(TEXT * 8), encoding="utf-8")
    optimised = []
    which: Which
    for which in ("none", "questions", "all", "none"):
        result = built(tmp_path, corpus, settings=replace(SETTINGS, end_token=which))
        optimised.append(result.cost.groups_optimised)
    assert optimised == [len(REQUESTS), 0, len(REQUESTS), 0], "there is no question among them"
