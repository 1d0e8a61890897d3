"""Escape external text for terminals and logs, so that it cannot move the cursor, reorder or hide other text.

Labels, file names and error messages come from sources, servers and directories. Control characters
(ESC, C1, newlines), direction marks, invisible and unassigned code points and lone surrogates are shown
as `\\u…` escapes. `visible` is for text that people read, `visible_json` for JSON that programs read:
its escapes are JSON's own, so that no part of the value is lost.
"""

from __future__ import annotations

import traceback

import regex

BLANK = "\u2800\ufffc\U0001d159\U00013441\U00013442\U00016fe4"
"""Assigned code points without a visible glyph that Unicode counts as letters or symbols, such as the empty braille
pattern; fillers and variation selectors are default-ignorable."""

_UNSEEN = rf"[\p{{C}}\p{{Zl}}\p{{Zp}}\p{{Default_Ignorable_Code_Point}}{BLANK}]"
_JOINERS = r"[\u200C\u200D]"
_JOINING = r"[[\p{L}\p{M}]--[\p{Latin}\p{Cyrillic}\p{Greek}\p{Coptic}\p{Armenian}\p{Cherokee}\p{Lisu}]]"
HIDDEN = regex.compile(rf"(?V1)[{_UNSEEN}--{_JOINERS}]|(?<!{_JOINING}){_JOINERS}|{_JOINERS}(?!{_JOINING})")
"""One code point that a reader cannot see (`V1` is the module's syntax with set difference).

Zero-width joiners and non-joiners are correct spelling between letters of Persian and of Indic scripts.
"""

LONGEST = 2_000
"""Maximum number of characters shown of one value; a label may have a million."""


def visible(text: str, longest: int = LONGEST) -> str:
    """`text` escaped for printing on one line, cut after `longest` characters."""
    rest = len(text) - longest
    shown = text if rest <= 0 else f"{text[:longest]}… ({rest} more characters)"
    return shown if shown.isascii() and shown.isprintable() else str(HIDDEN.sub(_escaped, shown))


def visible_lines(text: str) -> str:
    """The same for kbsync's own text of several lines, such as a help text."""
    return "\n".join(visible(line) for line in text.split("\n"))


def visible_traceback(error: BaseException) -> str:
    """The traceback of `error`, with its message on one line, so that the message cannot imitate further lines."""
    parts = traceback.TracebackException.from_exception(error).format()
    frames = ("Traceback", "  File", "\n")
    return "\n".join(
        visible_lines(part.rstrip("\n")) if part.startswith(frames) else visible(part.rstrip("\n"))
        for part in parts
    )


def visible_json(text: str) -> str:
    """JSON text with the same code points as JSON escapes; line breaks between values are kept."""
    return str(HIDDEN.sub(_json_escaped, text))


def _escaped(match: regex.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _json_escaped(match: regex.Match[str]) -> str:
    char = str(match[0])
    if char == "\n":
        return char
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
