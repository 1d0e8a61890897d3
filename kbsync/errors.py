"""The errors that kbsync reports to its users.

    KbsyncError            1   unexpected
    ├── UsageError         2   the command was typed wrong
    │   ├── Changed        2   what a decision is about is not any more what the reviewer saw
    │   └── NoSuchFact     2   no fact has the number that was typed
    ├── BadData           65   an input or a stored file is not what it should be
    ├── NoInput           66   a file that the command should read does not exist
    ├── TryLater          75   a source, a lock or a worker is not available now
    ├── BadConfiguration  78   a setting, a path or the environment is wrong
    └── StoryInterrupted 130   Ctrl-C in `kbsync demo`, which does not continue when it is typed again

The number is the exit code (as in sysexits.h, where it defines one).  Every message says what is
wrong, where, and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class KbsyncError(Exception):
    """Base class of all errors that kbsync raises intentionally.

    `advice` is the line that says what to do, `further` are more such lines, where several things are wrong.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, advice: str | None = None, further: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.advice = advice
        self.further = tuple(further)


class UsageError(KbsyncError):
    exit_code = 2


class Changed(UsageError):
    """What a decision is about is not any more what the reviewer saw; the message says what it is now."""


class NoSuchFact(UsageError):
    """No fact has the number that was typed."""

    def __init__(self, id: int) -> None:
        super().__init__(f"there is no fact {id}", "`kbsync facts` lists them with their numbers")


class NoReason(UsageError):
    """A decision without a reason, or with one of no word."""


class BadData(KbsyncError):
    exit_code = 65


class NoInput(KbsyncError):
    exit_code = 66


class TryLater(KbsyncError):
    exit_code = 75


class BadConfiguration(KbsyncError):
    exit_code = 78


class StoryInterrupted(KbsyncError):
    """Ctrl-C in `kbsync demo`, which does not continue when it is typed again."""

    exit_code = 130
