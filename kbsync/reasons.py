"""What a person gives as the reason of a decision."""

from __future__ import annotations

from kbsync.errors import UsageError


def checked(reason: str) -> str:
    """The reason as it goes into the audit log, trimmed; raises UsageError if it has no word in it."""
    trimmed = reason.strip()
    if not any(character.isalnum() for character in trimmed):
        raise UsageError(
            f"a decision needs a reason of at least one word, not {reason!r}",
            'say why for those who read the audit log, such as --reason "the source was vandalised"',
        )
    return trimmed
