"""Every language is a language: words, stops and repetition in scripts with and without spaces."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from editing.evaluation.generation import ngram_entropy, says
from editing.evaluation.scoring import answer_length, cut_answer, end_tokens
from editing.evaluation.words import words
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
    assert says(text, target) is said


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
