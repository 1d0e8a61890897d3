"""The daemon's schedule: intervals that a wrong clock can neither stall nor flood.

APScheduler uses the wall clock.  If several times were missed (the machine slept, the clock was in 1970 until it
was set), the job runs once; if the clock was set back, the intervals begin again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

log = structlog.get_logger()

_JUMP_S = 60.0
"""The clock was set back if it lost this much against the monotonic one."""
_SHORTEST = timedelta(seconds=1)


class Every(BaseTrigger):  # type: ignore[misc]  # APScheduler 3 has no types
    """Fires once in each interval; however many times were missed, the next one is after now.

    `IntervalTrigger` returns every missed time, and APScheduler lists them all before it drops them: from 1970 to
    today, that list takes gigabytes.
    """

    def __init__(self, interval: timedelta) -> None:
        self.interval = max(interval, _SHORTEST)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        if previous_fire_time is not None and previous_fire_time + self.interval > now:
            return previous_fire_time + self.interval
        return now + self.interval


class Schedule:
    """Calls `due(name)` in every interval of `intervals`, on a thread of its own."""

    def __init__(
        self,
        intervals: Mapping[str, timedelta],
        due: Callable[[str], None],
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.intervals = dict(intervals)
        self._wall, self._monotonic = wall, monotonic
        self._last_skew = self._skew()
        self.scheduler = BackgroundScheduler(timezone="UTC")
        for name, interval in self.intervals.items():
            self.scheduler.add_job(
                due,
                Every(interval),
                args=(name,),
                id=name,
                coalesce=True,
                # The default of one second drops a job whenever the machine was busy for a moment.
                misfire_grace_time=max(1, int(interval.total_seconds())),
            )

    def start(self) -> None:
        self.scheduler.start()

    def shutdown(self) -> None:
        self.scheduler.shutdown(wait=False)

    @property
    def running(self) -> bool:
        return bool(self.scheduler.running)

    def look(self) -> bool:
        """Begin the intervals again if the clock was set back since the last call; returns whether it was.

        Otherwise APScheduler would wait for times that are in the future again.
        """
        skew = self._skew()
        lost, self._last_skew = self._last_skew - skew, skew
        if lost < _JUMP_S:
            return False
        log.warning("clock.set_back", seconds=round(lost))
        for name, interval in self.intervals.items():
            self.scheduler.reschedule_job(name, trigger=Every(interval))
        return True

    def _skew(self) -> float:
        """The wall clock minus the monotonic clock, in seconds."""
        return self._wall() - self._monotonic()
