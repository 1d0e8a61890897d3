"""Word boundaries and clause ends in any language, by Unicode's rules (UAX #29, as implemented in `regex`).

Scripts written without spaces (Han, kana, Thai, Lao, Khmer, Myanmar) are split where UAX #29 splits them without
a dictionary: at characters, and at runs of katakana.  Korean attaches particles to a noun (서울은, 서울입니다), so only
the beginning of a word has to match there.
"""

from __future__ import annotations

import unicodedata

import regex

_BOUNDARY = regex.compile(r"(?w)\b")
_SPACELESS = regex.compile(
    r"[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}"
    r"\p{Script=Myanmar}\p{Script=Tibetan}]"
)
_HANGUL = regex.compile(r"\p{Script=Hangul}")
_WORD = regex.compile(r"\w")
STOP = regex.compile(r"(?V1)\n|[.;:!?](?!\w)|,(?!\d)|[\p{Terminal_Punctuation}--[.,:;!?]](?!\d)|<\|")
"""The end of an object in running text: punctuation of any script that ends a clause, or a new line."""
INITIAL = regex.compile(r"(?:^|[\s.])(?:\p{Lu}|\p{Lu}\p{Ll}|Jr|Sr|\p{Lu}\.\p{Lu})$")
"""The end of a text whose full stop belongs to an initial or a short abbreviation."""


def contains(text: str, target: str) -> bool:
    """Whether `target` occurs in `text` as separate words, ignoring case, width and white space."""
    haystack, needle = f" {_folded(text)} ", _folded(target)
    if not needle:
        return False
    boundaries = {match.start() for match in _BOUNDARY.finditer(haystack)}
    at = haystack.find(needle)
    while at >= 0:
        end = at + len(needle)
        begins = at in boundaries or not _joined(haystack[at - 1])
        ends = end in boundaries or not _joined(haystack[end]) or bool(_HANGUL.match(needle[-1]))
        if begins and ends:
            return True
        at = haystack.find(needle, at + 1)
    return False


def words(text: str) -> list[str]:
    """The words of `text`: split at white space, and within scripts that are written without it."""
    found: list[str] = []
    for piece in text.split():
        if not _SPACELESS.search(piece):
            found.append(piece)
            continue
        edges = [match.start() for match in _BOUNDARY.finditer(piece)]
        parts = (piece[start:end] for start, end in zip([0, *edges], [*edges, len(piece)], strict=True))
        found += [part for part in parts if part and _WORD.search(part)]
    return found


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _joined(char: str) -> bool:
    """Whether this character can be part of a word: letters, digits, and marks on them."""
    return char.isalnum() or unicodedata.category(char).startswith("M")
