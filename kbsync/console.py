"""Terminal output: results on stdout (a table, or JSON), progress and advice on stderr."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kbsync.visible import visible, visible_json

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

    from editing.progress import TimedProgress

UNSEEN_WIDTH = 160
"""Width, in columns, of a table written to a pipe or a file."""

stderr = Console(stderr=True, highlight=False)
stdout = Console(highlight=False, width=None if sys.stdout.isatty() else UNSEEN_WIDTH)


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: dataclasses and pydantic's models as objects, dates as ISO 8601, NaN and infinities
    as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, date):  # or a datetime, which is one
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value


def print_json(value: Any) -> None:
    """Print `value` on stdout; code points that a terminal would interpret or hide become JSON escapes."""
    sys.stdout.write(visible_json(json.dumps(plain(value), ensure_ascii=False, indent=1)) + "\n")


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str = "none"
) -> None:
    """Print a table for people; cells are shown as plain text, None as an empty cell."""
    table = Table(
        title=shown(title), title_justify="left", title_style="bold", header_style="dim", expand=False
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    count = 0
    for row in rows:
        table.add_row(*(cell(item) for item in row))
        count += 1
    if count:
        stdout.print(table)
    else:
        stdout.print(f"[bold]{shown(title)}[/]: {shown(empty)}")


class Alarm(str):
    """A cell that needs attention; it is shown in red."""

    __slots__ = ()


def cell(value: Any) -> str:
    """One value, formatted for people."""
    if value is None:
        return ""
    if isinstance(value, Alarm):
        return f"[red]{shown(value)}[/]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return shown(str(value))


def shown(text: str) -> str:
    """External text, escaped so that rich prints it literally: markup and control characters have no effect."""
    return escape(visible(text))


def say(message: str = "") -> None:
    """Print a line of progress or advice."""
    stderr.print(shown(message), soft_wrap=True)


def say_error(message: str, advice: str | None = None, further: Sequence[str] = ()) -> None:
    """Print what went wrong and, each on a separate line, what to do."""
    stderr.print(f"[red]error[/]: {shown(message)}", soft_wrap=True)
    for line in (advice, *further):
        if line:
            stderr.print(f"  → {shown(line)}", soft_wrap=True)


EVERY = 10.0
"""Seconds between two lines of progress of a phase, if stderr is not a terminal."""


@contextmanager
def live_progress() -> Iterator[TimedProgress]:
    """On a terminal a bar for each phase; elsewhere a line at intervals and one at the end of each phase."""
    if not stderr.is_terminal:
        yield lines(say)
        return
    from rich.progress import Progress as Bars

    with Bars(*_columns(), console=stderr) as bars:
        tasks: dict[str, int] = {}
        starts = _starts()

        def show_phase(phase: str, done: int, total: int, eta_s: float | None) -> None:
            if not total:
                return  # nothing to do, or not known yet
            if starts(phase, done, total):
                tasks[phase] = bars.add_task(phase, total=total, left="")
            left = "" if eta_s is None or done >= total else f"{clock(eta_s)} left"
            bars.update(tasks[phase], completed=done, total=total, left=left)  # type: ignore[arg-type]

        yield show_phase


def _starts() -> Callable[[str, int, int], bool]:
    """Whether a phase begins, for the first time or again, given how much of it is done.

    It begins again when less of it is done than before, or when it is reported after its end and another phase.
    """
    last: dict[str, int] = {}
    over: set[str] = set()
    current = ""

    def starts(phase: str, done: int, total: int) -> bool:
        nonlocal current
        ended = phase in over and phase != current
        new = phase not in last or done < last[phase] or ended
        last[phase], current = done, phase
        (over.add if done >= total else over.discard)(phase)
        return new

    return starts


def lines(say: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> TimedProgress:
    """Progress as lines of text; a phase that ends within a second prints none."""
    began: dict[str, float] = {}
    said: dict[str, float] = {}
    starts = _starts()

    def show_phase(phase: str, done: int, total: int, eta_s: float | None) -> None:
        at = now()
        if not total:
            return  # nothing to do, or not known yet
        if starts(phase, done, total):
            began[phase] = said[phase] = at
        spent, over = at - began[phase], done >= total
        if at - said[phase] < (1.0 if over else EVERY):
            return
        said[phase] = at
        left = "" if over or eta_s is None else f", {clock(eta_s)} left"
        say(f"{phase}: {done} of {total} in {clock(spent)}, {done / spent:.3g}/s{left}")

    return show_phase


def _columns() -> Iterator[ProgressColumn]:
    """The columns of a progress bar, defined here so that `--help` does not import rich.progress."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Items per second over the last half minute."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if not speed else f"{speed:.3g}/s", style="dim")

    yield TextColumn("{task.description:<22}")
    yield BarColumn(32)
    yield MofNCompleteColumn()
    yield Rate()
    yield TimeElapsedColumn()
    yield TextColumn("{task.fields[left]}")


def clock(seconds: float) -> str:
    """`0:40`, `12:05`, `3:20:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
