"""Statistics of a corpus for a model with a chat template: a share of the texts is read as conversations."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from editing.memit.conversing import LONGEST, Conversing, question_and_answer, with_conversations
from editing.memit.corpus import Drawn
from editing.memit.statistics import Statistics
from editing.model.architectures import locate_parts
from editing.model.chat import asked
from editing.settings import EditSettings
from tests.support import tiny_models
from tests.support.chat import CHATML

TEXTS = [f"The house number {number} is old. It stands in the street." for number in range(10)]


def drawn(tmp_path: Path) -> Drawn:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(TEXTS), encoding="utf-8")
    return Drawn([corpus], 10, 0, field="text", hints=tmp_path / "hints")


def statistics(tmp_path: Path, share: float, template: str | None = CHATML) -> Statistics:
    tokenizer = tiny_models.tokenizer()
    tokenizer.chat_template = template
    settings = EditSettings(layers=(0, 1), statistics_chat=share)
    drawn(tmp_path)
    return Statistics(
        tiny_models.llama(),
        tokenizer,
        settings,
        corpus=[tmp_path / "corpus.txt"],
        base_digest="base",
        cache=tmp_path / "cache",
    )


@pytest.mark.parametrize(("share", "put"), [(0.3, 3), (0.5, 5), (1.0, 10)])
def test_a_share_of_the_texts_evenly_spread_is_asked_and_answered(
    tmp_path: Path, share: float, put: int
) -> None:
    tokenizer = tiny_models.tokenizer()
    tokenizer.chat_template = CHATML
    found = with_conversations(drawn(tmp_path), tokenizer, share).texts
    assert len(found) == len(TEXTS)
    changed = [number for number, (text, one) in enumerate(zip(TEXTS, found, strict=True)) if text != one]
    assert len(changed) == put
    assert (
        max(b - a for a, b in zip([-1, *changed], [*changed, len(TEXTS)], strict=True)) <= -(-10 // put) + 1
    )
    for number in changed:
        question = f"The house number {number} is old?"
        assert found[number] == asked(tokenizer, question) + "It stands in the street."


def test_without_a_template_or_a_share_the_sample_and_its_key_are_those_of_the_corpus(tmp_path: Path) -> None:
    plain, none = statistics(tmp_path, 0.0), statistics(tmp_path, 0.5, template=None)
    assert plain.content == none.content
    assert with_conversations(drawn(tmp_path), tiny_models.tokenizer(), 0.5).texts == tuple(TEXTS)


def test_the_key_of_the_statistics_depends_on_the_share_and_on_the_template(tmp_path: Path) -> None:
    other = CHATML.replace("<|im_end|>", "<|end|>")
    keys = {
        statistics(tmp_path, share, template).content
        for share, template in ((0.0, CHATML), (0.25, CHATML), (0.5, CHATML), (0.5, other))
    }
    assert len(keys) == 4


def test_the_moments_are_those_of_the_texts_with_conversations(tmp_path: Path) -> None:
    found = statistics(tmp_path, 0.5)
    parts = locate_parts(found.model)
    moments = found.compute(parts, (0, 1))
    texts = with_conversations(drawn(tmp_path), found.tokenizer, 0.5).texts
    same = tmp_path / "same"
    same.mkdir()
    (same / "corpus.jsonl").write_text(
        "\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8"
    )
    plain = Statistics(
        found.model,
        found.tokenizer,
        replace(found.settings, statistics_chat=0.0),
        corpus=[same / "corpus.jsonl"],
        base_digest="base",
        cache=same / "cache",
    )
    reference = plain.compute(parts, (0, 1))
    assert found.counted(0) == plain.counted(0)
    for layer in (0, 1):
        assert moments.load(layer).allclose(reference.load(layer), rtol=1e-5, atol=1e-7)


def test_a_template_that_changes_what_it_puts_leaves_the_text_as_it_is(tmp_path: Path) -> None:
    tokenizer = tiny_models.tokenizer()
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] | upper }}{% endfor %}"
    assert Conversing(drawn(tmp_path), tokenizer, 1.0).texts == tuple(TEXTS)


@pytest.mark.parametrize(
    ("text", "question", "answer"),
    [
        ("Rome is old. It is large.", "Rome is old?", "It is large."),
        ("Is Rome old? Yes.", "Is Rome old?", "Yes."),
        ("Rome is old", "Rome is old?", "Rome is old"),
        ("Rome is old.", "Rome is old?", "Rome is old."),
        ("It costs 3.5 euros. Cheap!", "It costs 3.5 euros?", "Cheap!"),
        ("東京は首都です。大きい。", "東京は首都です？", "大きい。"),
        ("word " * 100 + "end. More.", ("word " * (LONGEST // 5)).strip() + "?", "More."),
        ("x" * 500, "x" * LONGEST + "?", "x" * 500),
    ],
)
def test_the_first_sentence_is_the_question_and_the_rest_its_answer(
    text: str, question: str, answer: str
) -> None:
    assert question_and_answer(text) == (question, answer)
