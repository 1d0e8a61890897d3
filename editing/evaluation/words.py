"""Word boundaries and clause ends in any language, by Unicode's rules (UAX #29, as implemented in `regex`).

Scripts written without spaces (Han, kana, Thai, Lao, Khmer, Myanmar) are split where UAX #29 splits them without
a dictionary: at characters, and at runs of katakana.  Korean attaches particles to a noun (서울은, 서울입니다), so only
the beginning of a word has to match there.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import regex

_BOUNDARY = regex.compile(r"(?w)\b")
_SPACELESS = regex.compile(
    r"[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}"
    r"\p{Script=Myanmar}\p{Script=Tibetan}]"
)
_HANGUL = regex.compile(r"\p{Script=Hangul}")
_WORD = regex.compile(r"\w")
_ABBREVIATION = regex.compile(r"\p{Lu}{2,4}")
_DIGIT = regex.compile(r"\d")
_MORE_DIGITS = regex.compile(r"[.,:/]\d")
_MORE_DIGITS_BEFORE = regex.compile(r"(?:\d[.,:/]|(?<![\w)])[-−])$")
_THOUSANDS = regex.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ACCENTS = regex.compile(r"(?<=[\p{Latin}\p{Greek}\p{Cyrillic}])\p{Mn}+")
"""Marks on letters; in other scripts they are vowels."""
STOP = regex.compile(r"(?V1)\n|[.;:!?](?!\w)|,(?!\d)|[\p{Terminal_Punctuation}--[.,:;!?]](?!\d)|<\|")
"""The end of an object in running text: punctuation of any script that ends a clause, or a new line."""
_SENTENCE = regex.compile(r"\n|[.!?](?=\s)|[。！？｡]")
INITIAL = regex.compile(r"(?:^|[\s.])(?:\p{Lu}|\p{Lu}\p{Ll}|Jr|Sr|\p{Lu}\.\p{Lu})$")
"""The end of a text whose full stop belongs to an initial or a short abbreviation."""


class FoldedText:
    """A text in which names are searched as separate words, ignoring case, accents, width and white space.

    An abbreviation in capitals (US, IT) is found in capitals only, so that it is not taken for another word, and a
    number not within a longer number (5 in 5.5 or 15:30).
    """

    def __init__(self, text: str) -> None:
        cased = f" {_plain(text)} "
        self._text = f" {_folded(text)} "
        self._cased = cased if len(cased) == len(self._text) else None
        self._boundaries = {match.start() for match in _BOUNDARY.finditer(self._text)}

    def spans(self, name: str) -> list[tuple[int, int]]:
        """(start, end) of every occurrence of `name`, in the folded text."""
        needle, found = _folded(name), []
        at = self._text.find(needle) if needle else -1
        while at >= 0:
            if self._is_name(needle, _plain(name), at, at + len(needle)):
                found.append((at, at + len(needle)))
            at = self._text.find(needle, at + 1)
        return found

    def ends_at(self, end: int) -> bool:
        """Whether nothing that can be part of a word follows."""
        return not _WORD.search(self._text, end)

    def _is_name(self, needle: str, cased: str, start: int, end: int) -> bool:
        begins = start in self._boundaries or not _joined(self._text[start - 1])
        korean = bool(_HANGUL.match(needle[-1]))
        ends = end in self._boundaries or not _joined(self._text[end]) or korean
        if not begins or not ends:
            return False
        if _ABBREVIATION.fullmatch(cased) and self._cased is not None and self._cased[start:end] != cased:
            return False
        within = _MORE_DIGITS_BEFORE.search(self._text, endpos=start) if _DIGIT.match(needle[0]) else None
        return not within and not (_DIGIT.match(needle[-1]) and _MORE_DIGITS.match(self._text, end))


def contains(text: str, target: str) -> bool:
    """Whether `target` occurs in `text` as separate words; see `FoldedText` for what is ignored."""
    return bool(FoldedText(text).spans(target))


def sentence_end(text: str) -> int | None:
    """Index after the first sentence or line of `text`, or None if it has not ended yet.

    A mark ends a sentence if white space follows it (the full stop of an initial or a short abbreviation does not), or
    if it is one of a script that is written without spaces.  White space at the beginning is no line.
    """
    lead = len(text) - len(text.lstrip())
    for match in _SENTENCE.finditer(text, lead):
        if match[0] == "." and INITIAL.search(text[: match.start()]):
            continue
        return int(match.start() if match[0] == "\n" else match.end())
    return None


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


@lru_cache(maxsize=65_536)
def _folded(text: str) -> str:
    return _plain(text).casefold()


def _plain(text: str) -> str:
    """Without accents, differences of width and white space, and separators of thousands."""
    bare = _ACCENTS.sub("", unicodedata.normalize("NFKD", text))
    return str(_THOUSANDS.sub("", " ".join(unicodedata.normalize("NFKC", bare).split())))


def _joined(char: str) -> bool:
    """Whether this character can be part of a word: letters, digits, and marks on them."""
    return char.isalnum() or unicodedata.category(char).startswith("M")
