"""From exceptions to exit codes: one place for the errors of all four rooms.

0 done · 1 unexpected · 2 usage · 10 a gate rejected the run · 65 bad data · 66 no such file ·
75 try again later · 78 bad configuration · 130 interrupted
"""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.markup import escape

from kbsync.console import say_error, shown, stderr
from kbsync.errors import KbsyncError
from kbsync.visible import visible_traceback

INTERRUPTED = 130

CODES = {
    "SourceUnavailable": 75,
    "SourceDataError": 65,
    "SourceRefused": 78,
    "SourceSettingsError": 78,
    "SpecError": 65,
    "RequestError": 65,
    "DataError": 65,
    "ModelError": 78,
    "CheckpointError": 65,
    "StorageError": 75,
    "OutOfMemory": 75,
    "Unreachable": 78,
    "Busy": 75,
    "NotMigrated": 78,
    "NewerSchema": 78,
    "Damaged": 65,
    "Inconsistent": 65,
    "Unstorable": 65,
    "AnchorMissing": 66,
    "AnchorContradicted": 65,
    "NotFound": 2,
    "StaleTransition": 75,
    "ForbiddenTransition": 2,
    "ViewBlocked": 2,
    "GatesNotPassed": 10,
    "LeaseHeld": 75,
    "StaleLeader": 75,
}
"""Exit codes of the lower rooms' errors, by class name so that no room need be imported to fail."""


def exit_code_of(error: BaseException) -> int:
    """Say on stderr what went wrong and what to do; returns the exit code."""
    if isinstance(error, KeyboardInterrupt | click.exceptions.Abort):
        stderr.print("[yellow]interrupted[/]: what was finished is kept; the same command carries on")
        return INTERRUPTED
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    code = _code(error)
    if code is None:
        stderr.print(escape(visible_traceback(error)), style="dim")
        stderr.print(f"[red]unexpected error[/]: {shown(f'{type(error).__name__}: {error}')}")
        return 1
    say_error(str(error), getattr(error, "advice", None))
    return code


def code_named(name: str) -> int:
    """The code of an error that another process met, by its class's name."""
    own = {kind.__name__: kind.exit_code for kind in _descendants(KbsyncError)}
    return own.get(name, CODES.get(name, 1))


def _descendants(kind: type[KbsyncError]) -> Iterator[type[KbsyncError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _descendants(child)


def _code(error: BaseException) -> int | None:
    """The code of an error that one of the rooms raises on purpose, None for any other."""
    if isinstance(error, KbsyncError):
        return error.exit_code
    for kind in type(error).__mro__:
        if kind.__module__.startswith(("state.", "editing.", "connectors.")) and kind.__name__ in CODES:
            return CODES[kind.__name__]
    code = getattr(type(error), "exit_code", None)
    return code if isinstance(code, int) else None
