"""Progress of a build, and the estimated time that remains.  Torch-free."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

Progress = Callable[[str, int, int], None]
"""Called with (phase, done, total); phases: prefixes, samples, targets, statistics, keys, solve."""

TimedProgress = Callable[[str, int, int, float | None], None]
"""The same with the seconds that are left (None: unknown), as processes that show progress to people call it."""

Tick = Callable[[int], None]
"""Called with the number of further items done, by functions that do not know which phase they are part of."""

PARTS = frozenset({"solve"})
"""Phases that alternate with another one (the solves with `keys`) and count towards its time."""


def silent(phase: str, done: int, total: int, left_s: float | None = None) -> None:
    """Ignore progress, timed or not."""


def uncounted(count: int) -> None:
    """Ignore counts."""


class Counter:
    """A `Tick` that reports to `progress` how many of `total` items of one phase are done."""

    def __init__(self, progress: Progress, phase: str, total: int) -> None:
        self._progress, self._phase, self._total, self._done = progress, phase, total, 0
        progress(phase, 0, total)

    def __call__(self, count: int) -> None:
        """Add `count`; if the total turns out to be too small, it is raised."""
        self._done += count
        self._progress(self._phase, self._done, max(self._total, self._done))

    def end(self) -> None:
        """Report that all items are done."""
        if self._done < self._total:
            self(self._total - self._done)


@contextmanager
def counting(progress: Progress, phase: str, total: int) -> Iterator[Counter]:
    """A counter of one phase, which is reported as done at the end of the block.

    Some of its items may need no work, because they were done before.
    """
    counter = Counter(progress, phase, total)
    yield counter
    counter.end()


class Pace:
    """The rate of the current phase, and the time left for it and all phases that are still expected."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: dict[str, tuple[float, int]] = {}
        self._done: dict[str, int] = {}
        self._expected: dict[str, float] = {}
        self._ends: float | None = None

    def expect(self, seconds: Mapping[str, float]) -> None:
        """Add the expected seconds of phases to come, in their order (a preflight's estimate)."""
        self._expected |= seconds

    def at(self, phase: str, done: int, total: int) -> tuple[float | None, float | None]:
        """(items per second, seconds left) when `done` of `total` are done; None if unknown."""
        now = self._clock()
        rate = self._rate(phase, done, now)
        if phase not in PARTS:
            left = self._left(phase, done, total, rate)
            self._ends = None if left is None else now + left
        return rate, None if self._ends is None else max(self._ends - now, 0.0)

    def _rate(self, phase: str, done: int, now: float) -> float | None:
        """Seconds since the phase was first reported; alternating phases each keep their own time."""
        began, first = self._began.setdefault(phase, (now, done))
        if done < self._done.get(phase, 0):  # the phase has started again: another round
            began, first = self._began[phase] = (now, done)
        self._done[phase] = done
        return (done - first) / (now - began) if done > first and now > began else None

    def _left(self, phase: str, done: int, total: int, rate: float | None) -> float | None:
        """Seconds left of this phase and of those expected after it."""
        expected = None
        if phase in self._expected:
            for earlier in list(self._expected)[: list(self._expected).index(phase)]:
                del self._expected[earlier]
            expected = self._expected[phase]
            if done >= total:
                del self._expected[phase]
        later = sum(seconds for name, seconds in self._expected.items() if name != phase)
        if rate is not None:
            return (total - done) / rate + later
        return None if expected is None or not total else expected * (total - done) / total + later
