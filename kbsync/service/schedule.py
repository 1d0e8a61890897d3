"""The daemon's schedule: intervals and crontabs that a wrong clock can neither stall nor flood.

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

from kbsync.settings.timing import next_time

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


class Cron(BaseTrigger):  # type: ignore[misc]  # APScheduler 3 has no types
    """Fires at a crontab's times in a time zone; however many were missed, the next one is after now."""

    def __init__(self, crontab: str, zone: str) -> None:
        self.crontab, self.zone = crontab, zone

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        return next_time(self.crontab, self.zone, now)


def trigger(timing: timedelta | str, zone: str) -> BaseTrigger:
    """The trigger of an interval or of a crontab."""
    return Cron(timing, zone) if isinstance(timing, str) else Every(timing)


class Schedule:
    """Calls `due(name)` at the time or in the interval that `timings` gives, on a thread of its own."""

    def __init__(
        self,
        timings: Mapping[str, timedelta | str],
        due: Callable[[str], None],
        *,
        zone: str = "UTC",
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.timings, self.zone = dict(timings), zone
        self._wall, self._monotonic = wall, monotonic
        self._last_skew = self._skew()
        self.scheduler = BackgroundScheduler(timezone="UTC")
        for name, timing in self.timings.items():
            grace = max(1, int(timing.total_seconds())) if isinstance(timing, timedelta) else None
            self.scheduler.add_job(
                due,
                trigger(timing, zone),
                args=(name,),
                id=name,
                coalesce=True,
                # The default of one second drops a job whenever the machine was busy for a moment. A crontab's
                # time that was missed while the machine slept is made up for, however late.
                misfire_grace_time=grace,
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
        for name, timing in self.timings.items():
            self.scheduler.reschedule_job(name, trigger=trigger(timing, self.zone))
        return True

    def _skew(self) -> float:
        """The wall clock minus the monotonic clock, in seconds."""
        return self._wall() - self._monotonic()
