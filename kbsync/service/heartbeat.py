"""The daemon's heartbeat: when its loop was last active."""

from __future__ import annotations

import time
from collections.abc import Callable


class Heartbeat:
    """Remembers the last activity; `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()

    def beat(self) -> None:
        self._last = self._clock()

    @property
    def age_s(self) -> float:
        """Seconds since the last activity."""
        return self._clock() - self._last
