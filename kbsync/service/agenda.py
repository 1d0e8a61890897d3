"""What the daemon does when: the timing of each of its jobs, and the sources that are read at times of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from kbsync.application import Application
from kbsync.settings.sections import Settings
from kbsync.settings.timing import next_time

OF_SOURCE = "source "
"""The job that reads one source at its own times has this before the source's name."""


def timings(settings: Settings, jobs: Iterable[str]) -> dict[str, timedelta | str]:
    """The timing of each job: a source's own, or that of [schedule]."""
    own = settings.own_timings()
    return {
        job: own[job.removeprefix(OF_SOURCE)]
        if job.startswith(OF_SOURCE)
        else getattr(settings.schedule, job)
        for job in jobs
    }


def shared_sources(settings: Settings) -> frozenset[str] | None:
    """The sources that every scheduled cycle reads; None: all of them."""
    own = settings.own_timings()
    return frozenset(settings.sources) - frozenset(own) if own else None


def missed_sources(app: Application) -> Iterator[str]:
    """Jobs of sources whose own time passed while no daemon ran, or that were never read."""
    own = app.settings.own_timings()
    with app.state.read() as tx:
        health = tx.source_health(sorted(own))
    for name, timing in own.items():
        read, zone = health[name].succeeded, app.settings.schedule.timezone
        if read is None or read > app.now() or next_time(timing, zone, read) <= app.now():
            yield f"{OF_SOURCE}{name}"


def patience(settings: Settings, jobs: Iterable[str]) -> timedelta | None:
    """The longest time without any job after which the scheduler has stalled; None: crontabs alone do not say."""
    found = timings(settings, jobs)
    sync = found["sync"]
    intervals = [one for one in found.values() if isinstance(one, timedelta)]
    usual = sync if isinstance(sync, timedelta) else min(intervals, default=None)
    return None if usual is None else 3 * usual + timedelta(minutes=1)
