"""Check the reason that a person gives for a decision."""

from __future__ import annotations

from kbsync.errors import UsageError


def checked(reason: str) -> str:
    """The trimmed reason, as it is written to the audit log; raises UsageError if it contains no word."""
    trimmed = reason.strip()
    if not any(character.isalnum() for character in trimmed):
        raise UsageError(
            f"a decision needs a reason of at least one word, not {reason!r}",
            'say why for those who read the audit log, such as --reason "the source was vandalised"',
        )
    return trimmed
