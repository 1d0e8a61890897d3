"""Time as a parameter: every wait and every timestamp in this package goes through a `Clock`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


def utc_now() -> datetime:
    """The current time, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Clock:
    """The current time, elapsed time, and waiting.

    `now` timestamps observations, `monotonic` (seconds) measures budgets, and `sleep` waits between
    retries.  Tests pass their own functions.
    """

    now: Callable[[], datetime] = utc_now
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


SYSTEM_CLOCK = Clock()
