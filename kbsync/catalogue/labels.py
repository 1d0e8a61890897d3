"""Whether a label may stand in a prompt or as a target, and when two labels are one.

A label comes from people who may mean harm: it is checked for what a reader cannot see (control
and direction characters, zero-width spaces), for what would break a template (braces), and for
letters that only look like others (mixed scripts, styled letters), after Unicode UTS #39.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from functools import lru_cache

from editing.folding import normalize
from kbsync.visible import HIDDEN

CONFUSABLE = frozenset({"LATIN", "CYRILLIC", "GREEK", "COPTIC", "ARMENIAN", "CHEROKEE", "LISU"})
"""Scripts with letters that look like each other's: not two of them in one word."""
STYLED = re.compile(r"<(font|wide|narrow|circle|square)>")
MAX_MARKS = 4
"""Combining marks on one letter; the most that living orthographies need after composition."""


@lru_cache(maxsize=65_536)
def clean(text: str) -> str:
    """`text` as it stands in running text: composed (NFC), white space runs as one space, trimmed.

    Only space separators are folded: a tab or a line break is left for `flaw` to refuse.
    """
    folded = "".join(" " if unicodedata.category(char) == "Zs" else char for char in text)
    return re.sub(" +", " ", normalize("NFC", folded)).strip(" ")


@lru_cache(maxsize=65_536)
def flaw(text: str, longest: int, scripts: Collection[str] = ()) -> tuple[str, str] | None:
    """What is wrong with a `clean` label as (code, sentence); None if nothing is.

    `longest` is in characters; `scripts` (a hashable collection) limits the scripts, empty: any.
    """
    if not any(char.isalnum() for char in text):
        return "label_empty", "has no letter or digit"
    if len(text) > longest:
        return "label_long", f"is {len(text)} characters long, more than {longest}"
    if text.isascii():
        return _ascii_flaw(text, scripts)
    return _unicode_flaw(text, scripts)


def _ascii_flaw(text: str, scripts: Collection[str]) -> tuple[str, str] | None:
    if not text.isprintable():
        return "label_control", "contains a control character"
    if "{" in text or "}" in text:
        return "label_braces", "contains a brace, which templates reserve"
    if scripts and "LATIN" not in scripts and any(char.isalpha() for char in text):
        return "label_script", f"is written in LATIN, not in {', '.join(scripts)}"
    return None


def _unicode_flaw(text: str, scripts: Collection[str]) -> tuple[str, str] | None:
    if hidden := HIDDEN.search(text):
        return "label_control", f"contains the invisible character U+{ord(hidden[0]):04X}"
    if "{" in text or "}" in text:
        return "label_braces", "contains a brace, which templates reserve"
    for char in text:
        if char.isalpha() and STYLED.match(unicodedata.decomposition(char)):
            return "label_lookalike", f"contains {char!r}, a styled form of another letter"
    if _most_marks(text) > MAX_MARKS:
        return "label_lookalike", f"stacks more than {MAX_MARKS} marks on one letter"
    for word in re.split(r"[\W\d_]+", text):
        mixed = sorted({_script(char) for char in word if char.isalpha()} & CONFUSABLE)
        if len(mixed) > 1:
            return "label_lookalike", f"mixes {' and '.join(mixed)} letters in the word {word!r}"
    if scripts:
        foreign = sorted({_script(char) for char in text if char.isalpha()} - {"MODIFIER", *scripts})
        if foreign:
            return "label_script", f"is written in {', '.join(foreign)}, not in {', '.join(scripts)}"
    return None


def _most_marks(text: str) -> int:
    most = run = 0
    for char in text:
        run = run + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
        most = max(most, run)
    return most


@lru_cache(maxsize=4_096)
def _script(char: str) -> str:
    """The script of a letter, read from its Unicode name (`CYRILLIC SMALL LETTER A`)."""
    return unicodedata.name(char, "UNKNOWN").split()[0]
