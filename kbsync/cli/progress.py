"""Progress on stderr: each phase with its rate, and the time left over all phases that are known to come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kbsync.executor import Progress

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

EVERY = 10.0
"""Seconds between two lines of a phase, where stderr is no terminal."""


@contextmanager
def live_progress() -> Iterator[Progress]:
    """A bar a phase on a terminal; elsewhere a line now and then, and one where a phase ends."""
    from kbsync.cli.output import say, stderr

    if not stderr.is_terminal:
        yield lines(say)
        return
    from rich.progress import Progress as Bars

    with Bars(*_columns(), console=stderr) as bars:
        tasks: dict[str, int] = {}

        def show_phase(phase: str, done: int, total: int, eta_s: float | None) -> None:
            if phase not in tasks or (done == 0 and total):
                tasks[phase] = bars.add_task(phase, total=total, left="")
            left = "" if eta_s is None or done >= total else f"{clock(eta_s)} left"
            bars.update(tasks[phase], completed=done, total=total, left=left)  # type: ignore[arg-type]

        yield show_phase


def lines(say: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> Progress:
    """Progress as lines of text; a phase that ends within a second is not worth one."""
    began: dict[str, float] = {}
    said: dict[str, float] = {}

    def show_phase(phase: str, done: int, total: int, eta_s: float | None) -> None:
        at = now()
        if phase not in began or done == 0:
            began[phase] = said[phase] = at
        spent, over = at - began[phase], done >= total
        if at - said[phase] < (1.0 if over else EVERY):
            return
        said[phase] = at
        left = "" if over or eta_s is None else f", {clock(eta_s)} left"
        say(f"{phase}: {done} of {total} in {clock(spent)}, {done / spent:.3g}/s{left}")

    return show_phase


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


def clock(seconds: float) -> str:
    """`0:40`, `12:05`, `3:20:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
