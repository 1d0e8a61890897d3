"""Deciding when two texts read the same: one folding for prompts, labels, targets and answers.

`fold` is Unicode's NFKC_Casefold (The Unicode Standard, section 3.13, "Identifier Caseless Matching")
with runs of white space counted as one space.  It ignores invisible characters: default-ignorable code
points (UAX #44), such as soft hyphens, variation selectors and the combining grapheme joiner.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Literal

import regex

MAX_MARKS = 30
"""Number of consecutive combining marks that are kept, as in the Stream-Safe Text Format (UAX #15, section 13).

Normalising sorts each run in time quadratic in its length: 40,000 marks take a second.
"""

FOLDING = "nfkc_casefold"
"""Version of `fold`.  It changes whenever `fold` does, so that stored keys are computed again."""

_IGNORABLE = regex.compile(r"\p{Default_Ignorable_Code_Point}+")
_SPACE = regex.compile(r"\s+")
# The halfwidth voicing marks are letters that decompose to combining marks.
_MARKS = regex.compile(rf"([\p{{M}}\uFF9E\uFF9F]{{{MAX_MARKS}}})[\p{{M}}\uFF9E\uFF9F]+")


def normalize(form: Literal["NFC", "NFKC"], text: str) -> str:
    """`text` in a normalisation form, in time linear in its length: long runs of combining marks are truncated."""
    return unicodedata.normalize(form, text if text.isascii() else _MARKS.sub(r"\1", text))


@lru_cache(maxsize=65_536)
def fold(text: str) -> str:
    """The folded text: texts with equal folds cannot be distinguished reliably."""
    if not text.isascii():
        text = _casefold_once(normalize("NFKC", text))
        # The result of folding can itself fold further (Ancient Greek); at most two more rounds are needed.
        while (again := _casefold_once(text)) != text:
            text = again
    return str(_SPACE.sub(" ", text.casefold())).strip()


def _casefold_once(text: str) -> str:
    return normalize("NFKC", _IGNORABLE.sub("", text).casefold())
