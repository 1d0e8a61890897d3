"""Statistics without a corpus: seeded text of the model's own, in conversation too where it has a template."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from editing.errors import DataError
from editing.memit.own_samples import OwnSamples, sampled
from editing.memit.statistics import Statistics
from editing.model.architectures import locate_parts
from editing.settings import EditSettings
from tests.support import tiny_models
from tests.support.chat import CHATML

SETTINGS = EditSettings(layers=(0, 1), statistics_samples=8, statistics_tokens=12)


def samples(tmp_path: Path, template: str | None = None, settings: EditSettings = SETTINGS) -> OwnSamples:
    tokenizer = tiny_models.tokenizer()
    tokenizer.chat_template = template
    return OwnSamples(tiny_models.llama(), tokenizer, settings, base_digest="base", cache=tmp_path)


def test_a_seed_gives_the_same_texts_and_another_seed_others(tmp_path: Path) -> None:
    texts = samples(tmp_path / "a").texts
    assert len(texts) == 8
    assert samples(tmp_path / "b").texts == texts
    assert samples(tmp_path / "c", settings=replace(SETTINGS, seed=1)).texts != texts


def test_texts_are_kept_and_not_drawn_again(tmp_path: Path) -> None:
    first = samples(tmp_path)
    first.read()
    (kept,) = (tmp_path / "samples").iterdir()
    content = json.loads(kept.read_text(encoding="utf-8"))
    assert tuple(content["texts"]) == first.texts
    seen: list[tuple[str, int, int]] = []
    assert samples(tmp_path).read(lambda *step: seen.append(step)) == first.texts
    assert not seen


def test_a_damaged_file_is_drawn_again(tmp_path: Path) -> None:
    texts = samples(tmp_path).texts
    (kept,) = (tmp_path / "samples").iterdir()
    kept.write_text(kept.read_text(encoding="utf-8").replace("The", "Teh", 1), encoding="utf-8")
    assert samples(tmp_path).texts == texts


def test_with_a_chat_template_half_of_them_are_conversations(tmp_path: Path) -> None:
    plain, chat = samples(tmp_path), samples(tmp_path, CHATML)
    assert plain.digest != chat.digest
    spoken = [text for text in chat.texts if text.startswith("<|im_start|>user\n")]
    assert len(spoken) == 4
    for text in spoken:
        question, _, rest = text.removeprefix("<|im_start|>user\n").partition("<|im_end|>\n")
        assert question.strip(), "the model's own question"
        assert rest.startswith("<|im_start|>assistant\n")
    assert chat.provenance()["conversations"]
    assert not plain.provenance()["conversations"]


def test_a_template_that_wants_more_than_a_question_is_left_aside(tmp_path: Path) -> None:
    refusing = "{{ raise_exception('a system message is required') }}"
    assert len(samples(tmp_path, refusing).texts) == 8


def test_a_context_too_short_for_a_conversation_leaves_the_plain_samples(tmp_path: Path) -> None:
    long = "{{ 'You are a helpful assistant. ' * 30 }}" + CHATML
    settings = replace(SETTINGS, statistics_tokens=500)
    short = samples(tmp_path, long, settings)
    assert len(short.texts) == 4
    window = tiny_models.llama().config.max_position_embeddings
    tokenizer = tiny_models.tokenizer()
    assert all(len(tokenizer(text)["input_ids"]) <= window for text in samples(tmp_path, CHATML).texts)


def test_a_text_ends_where_the_model_ends_it() -> None:
    model, prompt = tiny_models.llama(), (5, 6, 7)
    free = sampled(model, [prompt], 6, torch.Generator().manual_seed(0), ends=frozenset())[0]
    assert len(free) == 6
    end = free[3]
    cut = sampled(model, [prompt], 6, torch.Generator().manual_seed(0), ends=frozenset([end]))[0]
    assert cut == free[: free.index(end)]


def test_statistics_without_a_corpus_are_those_of_the_samples(tmp_path: Path) -> None:
    model, tokenizer = tiny_models.llama(), tiny_models.tokenizer()
    own = Statistics(model, tokenizer, SETTINGS, corpus=(), base_digest="base", cache=tmp_path / "own")
    file = tmp_path / "same.jsonl"
    texts = samples(tmp_path / "again").texts
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    corpus = Statistics(
        model, tokenizer, SETTINGS, corpus=[file], base_digest="base", cache=tmp_path / "corpus"
    )
    parts = locate_parts(model)
    assert own.missing((0, 1)) == [0, 1]
    ours, theirs = own.compute(parts, (0, 1)), corpus.compute(parts, (0, 1))
    assert own.missing((0, 1)) == []
    for layer in (0, 1):
        torch.testing.assert_close(ours.load(layer), theirs.load(layer))
        assert own.counted(layer) == corpus.counted(layer)


def test_a_model_that_writes_nothing_needs_a_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = samples(tmp_path)
    monkeypatch.setattr(empty, "_count", 0)
    with pytest.raises(DataError, match="name files of ordinary text"):
        empty.read()
