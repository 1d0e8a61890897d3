"""From exceptions to exit codes: one place for the errors of all four packages.

0 done · 1 unexpected · 2 usage · 10 a gate rejected the run · 65 bad data · 66 no such input file ·
75 try again later · 78 bad configuration · 130 interrupted
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

from rich.markup import escape
from typer import Abort, Exit
from typer.exceptions import TyperException

from editing.durable import advice_when_full
from kbsync.console import say_error, shown, stderr
from kbsync.errors import KbsyncError, StoryInterrupted, TryLater
from kbsync.visible import visible_traceback

INTERRUPTED = 130
EXIT_CODES = {
    0: "done; also: there was nothing to do",
    1: "unexpected: a run failed, or kbsync met something that it does not know",
    2: "usage: the command cannot do what was typed, or what was typed is out of date",
    10: "a gate rejected the run; live is untouched",
    65: "bad data: an input or a stored file is not what it should be",
    66: "a file that the command should read does not exist",
    75: "try again later: a source, a server, a lock or a worker is not available now",
    78: "bad configuration: a setting, a path or the environment has to be corrected; a restart does not help",
    INTERRUPTED: "interrupted with Ctrl-C; finished work is kept",
}
"""What each exit code means; sysexits.h has 65 to 78 (docs/exit-codes.md)."""


@cache
def codes() -> Mapping[type[Exception], int]:
    """The exit code of each error of the three lower packages; a class has that of its nearest ancestor here.

    A function, so that a command which succeeds need not import what can fail.
    """
    from connectors import errors as sources
    from editing import errors as editing
    from state import errors as ledger

    return {
        sources.SourceUnavailable: 75,
        sources.SourceDataError: 65,
        sources.SourceRefused: 78,
        sources.SourceSettingsError: 78,
        editing.SpecError: 65,
        editing.RequestError: 65,
        editing.DataError: 65,
        editing.NoSuchFile: 66,
        editing.ModelError: 78,
        editing.CheckpointError: 65,
        editing.StorageError: 75,
        editing.OutOfMemory: 75,
        editing.ClusterError: 75,
        editing.NumericalError: 65,
        editing.Stopped: 75,
        ledger.Unreachable: 78,
        ledger.Busy: 75,
        ledger.SchemaError: 78,
        ledger.Damaged: 65,
        ledger.Inconsistent: 65,
        ledger.Unstorable: 65,
        ledger.AnchorMissing: 66,
        ledger.ArchiveMissing: 66,
        ledger.AnchorContradicted: 65,
        ledger.NameTaken: 2,
        ledger.NotFound: 2,
        ledger.StaleTransition: 75,
        ledger.ForbiddenTransition: 2,
        ledger.SlotTaken: 75,
        ledger.ViewBlocked: 2,
        ledger.NoLongerWanted: 2,
        ledger.GatesNotPassed: 10,
        ledger.LeadershipError: 75,
    }


def exit_code_of(error: BaseException) -> int:
    """Say on stderr what went wrong and what to do; returns the exit code."""
    if isinstance(error, KeyboardInterrupt | Abort):
        stderr.print("[yellow]interrupted[/]: finished work is kept; run the same command again to continue")
        return INTERRUPTED
    if isinstance(error, Exit):
        return error.exit_code
    if isinstance(error, TyperException):
        _say_usage(error)
        return error.exit_code
    if (
        isinstance(error, OSError)
        and not isinstance(error, KbsyncError)
        and (what := advice_when_full(error))
    ):
        say_error(f"{error.strerror}: {error.filename or 'a file'} cannot be written", what)
        return TryLater.exit_code
    if isinstance(error, StoryInterrupted):
        stderr.print(f"[yellow]interrupted[/]: {shown(str(error))}", soft_wrap=True)
        stderr.print(f"  → {shown(error.advice or '')}", soft_wrap=True)
        return error.exit_code
    # A refused request has the code of the error that another process met.
    code = error.exit_code if isinstance(error, KbsyncError) else _code(type(error))
    if code is None:
        stderr.print(escape(visible_traceback(error)), style="dim")
        stderr.print(f"[red]unexpected error[/]: {shown(f'{type(error).__name__}: {error}')}")
        return 1
    say_error(str(error), getattr(error, "advice", None), getattr(error, "further", ()))
    return code


def _say_usage(error: TyperException) -> None:
    """What was wrong with the command line, as it is safe to print: an argument may hold anything."""
    if type(error).__name__ == "NoArgsIsHelpError":  # the help text was printed already
        return
    context = getattr(error, "ctx", None)
    say_error(error.format_message(), f"see `{context.command_path} --help`" if context else None)


def code_named(name: str) -> int:
    """The code of an error that another process met, by its class's name."""
    families: tuple[type[Exception], ...] = (KbsyncError, *codes())
    kinds = (kind for family in families for kind in _descendants(family))
    found = next((kind for kind in kinds if kind.__name__ == name), None)
    return 1 if found is None else _code(found) or 1


def _descendants(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _descendants(child)


def _code(kind: type[BaseException]) -> int | None:
    """The code of an error that one of the rooms raises on purpose, None for any other."""
    if issubclass(kind, KbsyncError):
        return kind.exit_code
    for ancestor in kind.__mro__:
        if issubclass(ancestor, Exception) and ancestor in codes():
            return codes()[ancestor]
    code = getattr(kind, "exit_code", None)
    return code if isinstance(code, int) else None
