"""Texts that read the same fold to the same text, and folding takes time in the length of the text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from editing.folding import MAX_MARKS, fold, normalize
from editing.requests import prompt_key
from tests.support.properties import drawing, editions


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Acme Holding", "Acme\u034f Holding"),
        ("Acme Holding", "Ac\u00adme Holding"),
        ("Acme Holding", "Acme Holding\ufe0f"),
        ("Acme Holding", "Acme\u3164 Holding"),
        ("Acme Holding", "ACME\u00a0 Holding "),
        ("Ｒｏｍｅ", "rome"),
        ("Straße", "STRASSE"),
        ("ᾳ", "ΑΙ"),
        ("می‌خواهم", "میخواهم"),
    ],
)
def test_texts_that_read_the_same_are_one_prompt(one: str, other: str) -> None:
    assert fold(one) == fold(other)
    assert prompt_key(one) == prompt_key(other)


def test_a_letter_with_an_accent_is_another_letter() -> None:
    assert fold("Rome") != fold("Romé")


@editions(quick=100)
def test_folding_twice_is_folding_once(examples: int) -> None:
    @drawing(examples)
    @given(st.text())
    def holds(text: str) -> None:
        assert fold(fold(text)) == fold(text)

    holds()


def test_a_tower_of_marks_is_cut_before_it_is_sorted() -> None:
    tower = "a" + "\u0301\u0323" * 400_000
    assert len(normalize("NFC", tower)) <= 1 + MAX_MARKS
    assert len(fold("ﾞ\u0301" * 400_000)) <= 1 + MAX_MARKS


def test_ordinary_text_is_normalised_as_unicodedata_does() -> None:
    text = "Đặng Thị Ngọc Thịnh, Cafe\u0301, 株式会社"
    assert normalize("NFC", text) == unicodedata.normalize("NFC", text)
