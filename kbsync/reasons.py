"""Check what a person gives for a decision: the reason, and the name of who decides."""

from __future__ import annotations

from kbsync.errors import NoReason, UsageError
from kbsync.visible import HIDDEN, visible

LONGEST_REASON = 10_000
LONGEST_NAME = 200
"""Maximum number of characters."""


def checked(reason: str) -> str:
    """The trimmed reason, as it is written to the audit log.

    Raises NoReason if it contains no word, UsageError if it is too long or contains what no database stores.
    """
    trimmed = reason.strip()
    if not any(character.isalnum() for character in trimmed):
        raise NoReason(
            f"a decision needs a reason of at least one word, not {reason!r}",
            'say why for those who read the audit log, such as --reason "the source was vandalised"',
        )
    if len(trimmed) > LONGEST_REASON:
        raise UsageError(
            f"a reason has at most {LONGEST_REASON} characters, not {len(trimmed)}",
            "name the document that has the rest",
        )
    if "\0" in trimmed or any("\ud800" <= character <= "\udfff" for character in trimmed):
        raise UsageError(
            f"the reason {visible(trimmed, 60)!r} contains a character that is no text", "write it in UTF-8"
        )
    return trimmed


def checked_name(name: str) -> str:
    """The trimmed name of who decides; raises UsageError unless it is one short line that a reader can see."""
    trimmed = name.strip()
    if not any(character.isalnum() for character in trimmed) or HIDDEN.search(trimmed):
        raise UsageError(
            f"{visible(name, 60)!r} names nobody",
            "name a person or a program in visible characters, such as alice",
        )
    if len(trimmed) > LONGEST_NAME:
        raise UsageError(
            f"a name has at most {LONGEST_NAME} characters, not {len(trimmed)}", "give a shorter one"
        )
    return trimmed
