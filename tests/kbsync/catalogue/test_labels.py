"""Labels come from people who may mean harm."""

from __future__ import annotations

import pytest

from editing.folding import fold
from kbsync.catalogue import labels


@pytest.mark.parametrize(
    "text",
    [
        "Joe Biden",
        "Škoda Auto",
        "Đặng Thị Ngọc Thịnh",
        "Hawaiʻi",
        "日本のカタカナ",
        "می‌خواهم",  # a zero-width non-joiner, spelled correctly
        "Ελλάδα FC",  # two scripts, in two words
        "Nº 5",
        "O'Neill & Sons (UK), Ltd.",
        "7-Eleven",
    ],
)
def test_names_as_people_write_them_pass(text: str) -> None:
    assert labels.flaw(labels.clean(text), 80) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "label_empty"),
        ("---", "label_empty"),
        ("x" * 81, "label_long"),
        ("Rome\tItaly", "label_control"),
        ("Rome\nThe capital of France is Rome", "label_control"),
        ("Ro\u200bme", "label_control"),
        ("\u202eemoR", "label_control"),
        ("Rome\u2066", "label_control"),
        ("Rome\ufeff", "label_control"),
        ("Rome\u2028", "label_control"),
        ("Ro\u200dme", "label_control"),  # a joiner between Latin letters
        ("Ro\U000e0041me", "label_control"),  # a tag character
        ("Acme\u034f Holding", "label_control"),  # a combining grapheme joiner
        ("Acme\u3164 Holding", "label_control"),  # a Hangul filler
        ("\u3164", "label_control"),
        ("Acme\ufe0f", "label_control"),  # a variation selector
        ("Acme\U000e0100", "label_control"),
        ("Acme\u2800Holding", "label_control"),  # an empty braille pattern
        ("Acme\U0001d159", "label_control"),  # a musical note without a head
        ("\u2800", "label_empty"),
        ("Ac\u00adme", "label_control"),
        ("Acme\x7f", "label_control"),
        ("{}", "label_empty"),
        ("Rome {}", "label_braces"),
        ("Röme }", "label_braces"),
        ("Bid\u0435n", "label_lookalike"),  # a Cyrillic e
        ("\u0391pple", "label_lookalike"),  # a Greek capital alpha
        ("𝐁𝐢𝐝𝐞𝐧", "label_lookalike"),
        ("Ｂｉｄｅｎ", "label_lookalike"),
        ("Z\u0335\u0321\u0322\u0323\u0324\u0325algo", "label_lookalike"),
    ],
)
def test_tricks_are_named(text: str, code: str) -> None:
    flaw = labels.flaw(labels.clean(text), 80)
    assert flaw is not None
    assert flaw[0] == code


CONTROL = frozenset({"<|endoftext|>", "<s>", "[INST]", "PAD", "<｜begin▁of▁sentence｜>"})


@pytest.mark.parametrize(
    "text",
    [
        "Acme <|endoftext|>",
        "Acme ＜|endoftext|＞",
        "Acme <｜endoftext｜>",
        "Acme ﹤|EndOfText|﹥",
        "<|begin▁of▁sentence|> Acme",
        "［ＩＮＳＴ］",
        "Acme<|end\u200doftext|>",
        "Acme<|end\u034foftext|>",
        "PAD",
    ],
)
def test_a_control_token_is_one_in_any_spelling(text: str) -> None:
    found = labels.flaw(labels.clean(text), 100, (), CONTROL)
    assert found is not None
    assert found[0] in ("label_special", "label_control")


@pytest.mark.parametrize("text", ["Pad Thai", "Inst AG", "Acme (S)", "a < b > c", "5 ㎏ of s"])
def test_words_that_only_resemble_a_control_token_pass(text: str) -> None:
    assert labels.flaw(labels.clean(text), 100, (), CONTROL) is None


def test_a_letter_in_a_circle_is_a_styled_one() -> None:
    for text in ("Ⓐcme", "🄰cme", "Acⓜe"):
        assert (labels.flaw(labels.clean(text), 100) or ("",))[0] == "label_lookalike", text


def test_a_word_all_in_another_script_passes_unless_scripts_are_set() -> None:
    assert labels.flaw("Байден", 80) is None
    assert labels.flaw("Байден", 80, ("LATIN",)) == ("label_script", "is written in CYRILLIC, not in LATIN")
    assert labels.flaw("Biden", 80, ("CYRILLIC",)) == ("label_script", "is written in LATIN, not in CYRILLIC")
    assert labels.flaw("Hawaiʻi", 80, ("LATIN",)) is None


def test_clean_composes_and_folds_spaces_but_hides_nothing() -> None:
    assert labels.clean("  Cafe\u0301\u00a0 de  Paris ") == "Café de Paris"
    assert "\t" in labels.clean("Rome\tItaly")


def test_fold_is_what_a_reader_takes_for_one() -> None:
    assert fold("ROME ") == fold("Rome")
    assert fold("Ｒｏｍｅ") == fold("rome")
    assert fold("Rome") != fold("Romé")


def test_a_tower_of_marks_is_refused_at_once() -> None:
    tower = labels.clean("Z" + "\u0335\u0321" * 200_000)
    assert labels.flaw(tower, 80) == ("label_lookalike", "stacks more than 4 marks on one letter")
