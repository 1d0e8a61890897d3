"""Check whether a label can be used in a prompt or as a target.

Labels may come from malicious authors: they are checked for characters that a reader cannot see
(control and direction characters, zero-width spaces), for characters that would break a template
(braces), and for letters that look like others (mixed scripts, styled letters), following Unicode
UTS #39.  `FLAWS` declares the checks.
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
"""Scripts whose letters look alike: a word may use only one of them."""
STYLED = re.compile(r"<(font|wide|narrow|circle|square)>")
MAX_MARKS = 4
"""Maximum number of combining marks on one letter; living orthographies need no more after composition."""


@lru_cache(maxsize=65_536)
def clean(text: str) -> str:
    """`text` as it appears in running text: composed (NFC), with runs of spaces as one space, trimmed.

    Only space separators are folded: a tab or a line break is left for `flaw` to refuse.
    """
    folded = "".join(" " if unicodedata.category(char) == "Zs" else char for char in text)
    return re.sub(" +", " ", normalize("NFC", folded)).strip(" ")


class LabelLimits(NamedTuple):
    """The limits that labels are checked against."""

    longest: int
    """Maximum length in characters."""
    scripts: Collection[str] = ()
    """Allowed scripts by their Unicode names, as a hashable collection; empty: any."""
    special: frozenset[str] = frozenset()
    """The model's control tokens, as text."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """One reason why a label cannot be used, with its code and setting as a rule of admission."""

    code: str
    text: str
    find: Callable[[str, LabelLimits], str | None]
    """Returns what is wrong with a `clean` label, or None."""
    settings: tuple[str, ...] = ()
    approvable: bool = False


@lru_cache(maxsize=65_536)
def flaw(
    text: str, longest: int, scripts: Collection[str] = (), special: frozenset[str] = frozenset()
) -> tuple[str, str] | None:
    """The first flaw of a `clean` label as (code, what is wrong), or None.  For the arguments see `LabelLimits`."""
    limits = LabelLimits(longest, scripts, special)
    for one in FLAWS:
        if (found := one.find(text, limits)) is not None:
            return one.code, found
    return None


def _is_empty(text: str, limits: LabelLimits) -> str | None:
    return None if any(char.isalnum() for char in text) else "has no letter or digit"


def _is_long(text: str, limits: LabelLimits) -> str | None:
    return (
        f"is {len(text)} characters long, more than {limits.longest}" if len(text) > limits.longest else None
    )


def _hides(text: str, limits: LabelLimits) -> str | None:
    if text.isascii() and text.isprintable():
        return None
    hidden = HIDDEN.search(text)
    return f"contains the invisible character U+{ord(hidden[0]):04X}" if hidden else None


def _has_braces(text: str, limits: LabelLimits) -> str | None:
    return "contains a brace, which templates reserve" if "{" in text or "}" in text else None


def _steers(text: str, limits: LabelLimits) -> str | None:
    token = control_token_in(text, limits.special)
    return None if token is None else f"contains {token!r}, which is a control token of the model"


def _misleads(text: str, limits: LabelLimits) -> str | None:
    if text.isascii():
        return None
    for char in text:
        if STYLED.match(unicodedata.decomposition(char)) and _is_letter(char):
            return f"contains {char!r}, a styled form of another letter"
    if _most_marks(text) > MAX_MARKS:
        return f"stacks more than {MAX_MARKS} marks on one letter"
    for word in re.split(r"[\W\d_]+", text):
        mixed = sorted({_script(char) for char in word if char.isalpha()} & CONFUSABLE)
        if len(mixed) > 1:
            return f"mixes {' and '.join(mixed)} letters in the word {word!r}"
    return None


def _is_foreign(text: str, limits: LabelLimits) -> str | None:
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
"""In the order in which they are checked."""


def _is_letter(styled: str) -> bool:
    """Whether a styled character is a letter, or one Latin letter in a circle or a square, which Unicode has
    among the symbols."""
    plain = normalize("NFKC", styled)
    return styled.isalpha() or (len(plain) == 1 and _script(plain) in CONFUSABLE)


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
