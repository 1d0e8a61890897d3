"""Every language is a language: words, stops and repetition in scripts with and without spaces."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from torch import Tensor

from editing.evaluation.entropy import ngram_entropy
from editing.evaluation.generation import generate
from editing.evaluation.scoring import (
    answer_ends,
    answer_length,
    before_end,
    continue_greedily,
    cut_answer,
    encode_prompts,
    end_tokens,
    greedy_answers,
)
from editing.evaluation.words import contains, words
from editing.model.inference import Continuation
from tests.support import tiny_models
from tests.support.zoo import tokenizer


@pytest.mark.parametrize(
    ("text", "target", "said"),
    [
        ("東京です。", "東京", True),
        ("日本の首都は東京。", "東京", True),
        ("ローマです", "ローマ", True),
        ("ローマンです", "ローマ", False),
        ("北京是中国的首都", "北京", True),
        ("กรุงเทพเป็นเมืองหลวง", "กรุงเทพ", True),
        ("서울입니다.", "서울", True),
        ("수도는 서울은", "서울", True),
        ("남서울", "서울", False),
        ("ភ្នំពេញជា", "ភ្នំពេញ", True),
        ("दिल्ली।", "दिल्ली", True),
        ("रामा", "राम", False),
        ("عاصمة مصر هي القاهرة،", "القاهرة", True),
        ("Ｒｏｍｅ", "Rome", True),
        ("Romeo", "Rome", False),
        ("Rome's", "Rome", True),
        ("anything", "", False),
    ],
)
def test_an_object_is_found_as_words_of_its_own_in_every_script(text: str, target: str, said: bool) -> None:
    assert contains(text, target) is said


@pytest.mark.parametrize(
    "text",
    [
        "東京です。次",
        "東京、日本",
        "東京，日本",
        "東京！",
        "東京？",
        "دمشق، سوريا",
        "دمشق؟",
        "दिल्ली। आगे",
        "ឡាវ។ ក",
        "Երևան։ Այո",
        "Rome. Then",
    ],
)
def test_an_answer_ends_at_the_stops_of_its_script(text: str) -> None:
    stop = next(index for index, char in enumerate(text) if not char.isalnum() and char not in "्ीِិ")
    assert answer_length(text) < len(text)
    assert text[answer_length(text)] in "。、，！？،؟।។։."
    assert answer_length(text) >= stop - 2


def test_initials_of_any_alphabet_are_no_stops() -> None:
    assert answer_length("А. С. Пушкин. Он") == len("А. С. Пушкин")


def test_digits_grouped_with_a_wide_comma_stay_together() -> None:
    assert answer_length("1，000 人") == len("1，000 人")


@pytest.mark.parametrize("text", ["東京は日本の首都です。", "กรุงเทพเป็นเมืองหลวง", "北京是中国的首都。"])
def test_text_without_spaces_has_an_entropy(text: str) -> None:
    assert ngram_entropy(text) > 0
    assert ngram_entropy(text[:1] * 20) == 0  # repetition is still seen


def test_words_of_languages_with_spaces_are_what_they_were() -> None:
    assert words("It's 3.14, isn't it?") == ["It's", "3.14,", "isn't", "it?"]


def test_an_answer_ends_at_its_first_special_token() -> None:
    chosen = tokenizer("byte-bpe")
    rome = tuple(chosen(" Rome.")["input_ids"])
    after = tuple(chosen("The head of")["input_ids"])
    end = chosen.eos_token_id
    text, ids = cut_answer(chosen, (*rome, end, *after))
    assert text == "Rome"
    assert end not in ids
    assert cut_answer(chosen, (end, *after)) == ("", (end,))


def test_the_ends_of_the_generation_settings_count() -> None:
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=[7, 9]))
    chosen = tokenizer("byte-bpe")
    assert end_tokens(model, chosen) == {7, 9, chosen.eos_token_id}


PROMPTS = ["The capital of Italy is", "Germany is governed by", "The currency of Japan", "The"]


def test_a_special_token_without_a_role_ends_an_answer_too() -> None:
    chosen = tiny_models.tokenizer()
    chosen.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    turn = chosen.convert_tokens_to_ids("<|im_end|>")
    rome = tuple(chosen(" Rome")["input_ids"])
    after = tuple(chosen("The head of")["input_ids"])
    assert cut_answer(chosen, (*rome, turn, *after)) == ("Rome", rome)
    assert turn in answer_ends(SimpleNamespace(), chosen)


@pytest.mark.parametrize("several", [False, True], ids=["int", "list"])
def test_no_answer_goes_on_beyond_an_end_of_the_generation_settings(several: bool) -> None:
    """However long the other rows of its batch are continued."""
    model, chosen = tiny_models.gpt2(), tiny_models.tokenizer()
    prompts = encode_prompts(chosen, PROMPTS)
    rows = continue_greedily(model, prompts, 12)
    end = next(id for id in rows[0][1:] if id != rows[0][0])
    model.generation_config.eos_token_id = [399, end] if several else end
    answers = greedy_answers(model, chosen, prompts)
    for row, answer in zip(rows, answers, strict=True):
        cut = before_end(row, answer_ends(model, chosen)) or row[:1]
        assert answer == cut[: len(answer)]
        assert end not in answer[1:]
    alone = [greedy_answers(model, chosen, [prompt])[0] for prompt in prompts]
    assert [cut_answer(chosen, row) for row in answers] == [cut_answer(chosen, row) for row in alone]


def test_rows_that_have_ended_are_not_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_models.gpt2()
    prompts = [(id, id + 1) for id in range(5, 13)]
    whole = continue_greedily(model, prompts, 6)
    steps: list[int] = []
    append = Continuation.append

    def counted(self: Continuation, tokens: Tensor) -> None:
        steps.append(len(tokens))
        append(self, tokens)

    monkeypatch.setattr(Continuation, "append", counted)
    longest = {row[0] for row in whole[:2]}
    rows = continue_greedily(model, prompts, 6, ended=lambda ids: ids[0] not in longest)
    assert rows == [row if row[0] in longest else row[:1] for row in whole]
    assert len(longest) == 2, "else the rows could not be told apart"
    assert steps == [2] * 5


def test_what_is_generated_after_an_end_answers_nothing_but_still_shows_how_the_model_writes() -> None:
    model, chosen = tiny_models.gpt2(), tiny_models.tokenizer()
    open_ended = generate(model, chosen, PROMPTS, tokens=12)
    model.generation_config.eos_token_id = list(range(400))
    ended = generate(model, chosen, PROMPTS, tokens=12)
    assert [one.text for one in ended] == [one.text for one in open_ended]
    assert [one.answer for one in ended] == [""] * len(PROMPTS)
    assert all(one.text.startswith(one.answer) for one in open_ended)
    assert any(one.answer for one in open_ended)
