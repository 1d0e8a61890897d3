"""Whether a label may stand in a prompt or as a target, and when two labels are one.

A label comes from people who may mean harm: it is checked for what a reader cannot see (control
and direction characters, zero-width spaces), for what would break a template (braces), and for
letters that only look like others (mixed scripts, styled letters), after Unicode UTS #39.  `FLAWS`
declares what is looked for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from editing.folding import normalize
from editing.special_tokens import control_token_in
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


class Limits(NamedTuple):
    """What labels are held to."""

    longest: int
    """In characters."""
    scripts: Collection[str] = ()
    """As Unicode names them; hashable; empty: any."""
    special: frozenset[str] = frozenset()
    """Spellings of the model's control tokens."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """One way in which a label cannot be used; as a rule of admission it has a code and a setting."""

    code: str
    text: str
    find: Callable[[str, Limits], str | None]
    """What is wrong with a `clean` label, None if nothing is."""
    settings: tuple[str, ...] = ()
    approvable: bool = False


@lru_cache(maxsize=65_536)
def flaw(
    text: str, longest: int, scripts: Collection[str] = (), special: frozenset[str] = frozenset()
) -> tuple[str, str] | None:
    """What is wrong with a `clean` label as (code, what is wrong); None if nothing is.  See `Limits`."""
    limits = Limits(longest, scripts, special)
    for one in FLAWS:
        if (found := one.find(text, limits)) is not None:
            return one.code, found
    return None


def _is_empty(text: str, limits: Limits) -> str | None:
    return None if any(char.isalnum() for char in text) else "has no letter or digit"


def _is_long(text: str, limits: Limits) -> str | None:
    return (
        f"is {len(text)} characters long, more than {limits.longest}" if len(text) > limits.longest else None
    )


def _hides(text: str, limits: Limits) -> str | None:
    if text.isascii() and text.isprintable():
        return None
    hidden = HIDDEN.search(text)
    return f"contains the invisible character U+{ord(hidden[0]):04X}" if hidden else None


def _has_braces(text: str, limits: Limits) -> str | None:
    return "contains a brace, which templates reserve" if "{" in text or "}" in text else None


def _steers(text: str, limits: Limits) -> str | None:
    token = control_token_in(text, limits.special)
    return None if token is None else f"contains {token!r}, which steers the model instead of spelling a word"


def _misleads(text: str, limits: Limits) -> str | None:
    if text.isascii():
        return None
    for char in text:
        if char.isalpha() and STYLED.match(unicodedata.decomposition(char)):
            return f"contains {char!r}, a styled form of another letter"
    if _most_marks(text) > MAX_MARKS:
        return f"stacks more than {MAX_MARKS} marks on one letter"
    for word in re.split(r"[\W\d_]+", text):
        mixed = sorted({_script(char) for char in word if char.isalpha()} & CONFUSABLE)
        if len(mixed) > 1:
            return f"mixes {' and '.join(mixed)} letters in the word {word!r}"
    return None


def _is_foreign(text: str, limits: Limits) -> str | None:
    if not limits.scripts:
        return None
    foreign = sorted({_script(char) for char in text if char.isalpha()} - {"MODIFIER", *limits.scripts})
    return f"is written in {', '.join(foreign)}, not in {', '.join(limits.scripts)}" if foreign else None


FLAWS: tuple[Flaw, ...] = (
    Flaw("label_empty", "a label has no letter or digit", _is_empty),
    Flaw("label_long", "a label is too long", _is_long, ("label_max",), approvable=True),
    Flaw("label_control", "a label contains an invisible character", _hides),
    Flaw("label_braces", "a label contains a brace", _has_braces),
    Flaw("label_special", "a label contains a control token of the model", _steers),
    Flaw("label_lookalike", "a label contains letters that look like others", _misleads, approvable=True),
    Flaw(
        "label_script",
        "a label is written in a script that is not allowed",
        _is_foreign,
        ("label_scripts",),
        approvable=True,
    ),
)
"""In the order in which they are looked for."""


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
