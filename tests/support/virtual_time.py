"""Time that passes only when somebody waits."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from connectors.clock import Clock


class VirtualTime:
    def __init__(self, start: datetime = datetime(2021, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._lock = threading.Lock()
        self.elapsed = 0.0
        self.clock = Clock(now=self.now, monotonic=lambda: self.elapsed, sleep=self.sleep)

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.elapsed)

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.elapsed += seconds


class Stopwatch:
    """Seconds that pass only where a test says so: a monotonic clock."""

    def __init__(self) -> None:
        self.at, self.step = 0.0, 0.0

    def __call__(self) -> float:
        """The time; it moves on by `step` with every look."""
        self.at += self.step
        return self.at
