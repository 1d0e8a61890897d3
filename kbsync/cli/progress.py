"""Progress on stderr: a bar a phase with its rate, and the time left over all phases that are known to come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kbsync.executor import Progress

if TYPE_CHECKING:
    from rich.progress import ProgressColumn


@contextmanager
def live_progress() -> Iterator[Progress]:
    """Bars, one a phase; where stderr is no terminal, a line a phase when all is done."""
    from rich.progress import Progress as Bars

    from kbsync.cli.output import stderr

    with Bars(*_columns(), console=stderr, transient=not stderr.is_terminal) as bars:
        tasks: dict[str, int] = {}

        def show_phase(phase: str, done: int, total: int, eta_s: float | None) -> None:
            if phase not in tasks or (done == 0 and total):
                tasks[phase] = bars.add_task(phase, total=total, left="")
            left = "" if eta_s is None or done >= total else f"{_clock(eta_s)} left"
            bars.update(tasks[phase], completed=done, total=total, left=left)  # type: ignore[arg-type]

        yield show_phase


def _columns() -> Iterator[ProgressColumn]:
    """What a bar shows.  (Defined here so that `--help` need not import rich.progress.)"""
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
        """Items a second, of the last half minute."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if not speed else f"{speed:.3g}/s", style="dim")

    yield TextColumn("{task.description:<22}")
    yield BarColumn(32)
    yield MofNCompleteColumn()
    yield Rate()
    yield TimeElapsedColumn()
    yield TextColumn("{task.fields[left]}")


def _clock(seconds: float) -> str:
    """`0:40`, `12:05`, `3:20:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
