"""When two texts read the same: one folding for prompts, labels, targets and answers.

`fold` is Unicode's NFKC_Casefold (The Unicode Standard, section 3.13, "Identifier Caseless Matching")
with runs of white space counted as one space. It ignores what is invisible: default-ignorable code
points (UAX #44), such as soft hyphens, variation selectors and the combining grapheme joiner.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Literal

import regex

MAX_MARKS = 30
"""Combining marks in a row that are kept, as in the Stream-Safe Text Format (UAX #15, section 13).

Normalising sorts each such run, which takes time in the square of its length: 40,000 marks take a second.
"""

FOLDING = "nfkc_casefold"
"""Names what `fold` does.  It changes whenever `fold` does: whoever keeps keys made with it makes them again."""

_IGNORABLE = regex.compile(r"\p{Default_Ignorable_Code_Point}+")
_SPACE = regex.compile(r"\s+")
# The halfwidth voicing marks are letters that decompose to combining marks.
_MARKS = regex.compile(rf"([\p{{M}}\uFF9E\uFF9F]{{{MAX_MARKS}}})[\p{{M}}\uFF9E\uFF9F]+")


def normalize(form: Literal["NFC", "NFKC"], text: str) -> str:
    """`text` in a normalisation form, in time linear in its length: long runs of marks are cut short."""
    return unicodedata.normalize(form, text if text.isascii() else _MARKS.sub(r"\1", text))


@lru_cache(maxsize=65_536)
def fold(text: str) -> str:
    """The text as it reads: texts with the same fold cannot be distinguished with any confidence."""
    if not text.isascii():
        text = _casefold_once(normalize("NFKC", text))
        # Folding can leave something to fold (Ancient Greek), in at most two more rounds.
        while (again := _casefold_once(text)) != text:
            text = again
    return str(_SPACE.sub(" ", text.casefold())).strip()


def _casefold_once(text: str) -> str:
    return normalize("NFKC", _IGNORABLE.sub("", text).casefold())
