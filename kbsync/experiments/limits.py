"""The time that an experiment may take: what is not measured by then is left out of its report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from editing.errors import EditingError
from editing.progress import Progress

UNMEASURED = "not measured: the time was up"
"""The error of what is not measured; it is never stored."""


class OutOfTime(EditingError):
    """An edit was given up because the experiment's time is up."""

    def __init__(self) -> None:
        super().__init__(UNMEASURED)


@dataclass
class TimeLimit:
    """Counts from its creation.  With 0 minutes, only what is stored is reported."""

    minutes: float | None = None
    """None: no limit."""
    clock: Callable[[], float] = time.monotonic
    left_out: set[str] = field(default_factory=set)
    """Keys of what was not measured."""

    def __post_init__(self) -> None:
        self._began = self.clock()

    @property
    def is_up(self) -> bool:
        return self.minutes is not None and self.clock() - self._began >= 60 * self.minutes

    def watched(self, progress: Progress) -> Progress:
        """Passes progress on, and raises OutOfTime when the time is up."""

        def tell(phase: str, done: int, total: int) -> None:
            if self.is_up:
                raise OutOfTime
            progress(phase, done, total)

        return tell


T = TypeVar("T")


def in_time(some: Sequence[T], error: Callable[[T], str]) -> list[T]:
    """Those that were measured before the time was up; all if none was."""
    return [one for one in some if error(one) != UNMEASURED] or list(some)
