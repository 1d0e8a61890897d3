"""The names of a subject that is forgotten: found in text and in JSON, and replaced there.

A name is found as a word of its own, in any case, so that forgetting Ann leaves Annapolis alone.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from state.hash_chain import canonical

ERASED = "[forgotten]"
"""What stands where a name stood."""

_SHORTEST = 3
"""Characters; a shorter name in letters with case ("Li") is part of too much else to be searched for."""
_LETTER = "[^\\W\u0e00-\u0edf\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af]"
"""What makes a word longer: not the letters of scripts that put no spaces between words, or add endings to names."""
_NUMBERED = re.compile(r"[A-Za-z]+[0-9]+")


class SubjectNames:
    """The id of a subject and what it is called."""

    def __init__(self, id: str, called: Iterable[str] = ()) -> None:
        local = id.rpartition(":")[2]
        own = {id, *([local] if _NUMBERED.fullmatch(local) else [])}
        self.texts = tuple(
            sorted(own | {name for name in called if _can_be_searched(name)}, key=_longest_first)
        )
        spellings = sorted({form for name in self.texts for form in _spellings(name)}, key=_longest_first)
        self._pattern = re.compile("|".join(map(_word, spellings)), re.IGNORECASE)
        self._plain = all(json.dumps(name, ensure_ascii=False)[1:-1] == name for name in self.texts)

    def __bool__(self) -> bool:
        return bool(self.texts)

    def are_in(self, text: str) -> bool:
        """Whether a plain text has one of the names."""
        return self._pattern.search(text) is not None

    def may_be_in(self, json_text: str) -> bool:
        """Whether parsing JSON to look for the names is worth it; a name that JSON escapes may be anywhere."""
        return not self._plain or self.are_in(json_text)

    def replaced(self, text: str) -> str:
        """The text without the names; JSON stays (canonical) JSON."""
        if text[:1] in ("{", "["):
            try:
                value = json.loads(text)
            except ValueError:
                pass
            else:
                without = self.without(value)
                return text if without == value else canonical(without)
        return self._pattern.sub(ERASED, text)

    def without(self, value: Any) -> Any:
        """A JSON value whose texts and names of members are without the names."""
        match value:
            case str():
                nested = value[:1] in ("{", "[")
                return self.replaced(value) if nested else self._pattern.sub(ERASED, value)
            case list():
                return [self.without(item) for item in value]
            case dict():
                return {self._pattern.sub(ERASED, name): self.without(item) for name, item in value.items()}
        return value

    def spelled(self) -> re.Pattern[bytes]:
        """The names as files may have them: UTF-8, JSON with escapes, UTF-16 of either byte order."""
        forms = {
            form
            for text in self.texts
            for name in _spellings(text)
            for form in (
                name.encode(),
                json.dumps(name)[1:-1].encode(),
                json.dumps(name, ensure_ascii=False)[1:-1].encode(),
                name.encode("utf-16-le"),
                name.encode("utf-16-be"),
            )
        }
        return re.compile(b"|".join(map(_word_of_bytes, sorted(forms, key=len, reverse=True))), re.IGNORECASE)


def _longest_first(name: str) -> tuple[int, str]:
    return -len(name), name


def _spellings(name: str) -> set[str]:
    """The name with composed and with combining marks, in the cases that texts and bytes may have it in."""
    forms = {name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)}
    return forms | {change(one) for one in forms for change in (str.lower, str.upper, str.title)}


def _can_be_searched(name: str) -> bool:
    return len(name) >= _SHORTEST or (bool(name.strip()) and not any(map(_has_case, name)))


def _has_case(character: str) -> bool:
    return character.lower() != character.upper()


def _word(name: str) -> str:
    """A pattern for the name where it is not part of a longer word; scripts without case have no such borders."""
    bounded = [_has_case(end) or unicodedata.category(end) == "Nd" for end in (name[0], name[-1])]
    before, after = (f"(?<!{_LETTER})", f"(?!{_LETTER})")
    return (before if bounded[0] else "") + re.escape(name) + (after if bounded[1] else "")


def _word_of_bytes(form: bytes) -> bytes:
    """The same for bytes, where only ASCII letters and digits make a word longer, unless they are JSON's escapes."""
    escape = rb"(?<=\\u[0-9a-fA-F]{4})|(?<=\\[bfnrt])"
    before = rb"(?:(?<![A-Za-z0-9_])|" + escape + rb")" if form[:1].isalnum() else b""
    after = rb"(?![A-Za-z0-9_])" if form[-1:].isalnum() else b""
    return before + re.escape(form) + after
