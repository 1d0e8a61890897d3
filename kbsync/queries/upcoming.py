"""When something happens next: scheduled cycles, sources with times of their own, and quiet hours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from kbsync.application import Application
from kbsync.settings.timing import described, next_time
from state.records import SourceHealth


@dataclass(frozen=True, slots=True)
class Upcoming:
    """One thing that is scheduled."""

    what: str
    timing: str
    at: datetime | None
    """None: at intervals that the daemon counts from its start."""

    def __str__(self) -> str:
        return f"{self.timing}; next {self.at:%Y-%m-%d %H:%M} UTC" if self.at is not None else self.timing


@dataclass(frozen=True, slots=True)
class Agenda:
    """The schedule, as `status` and `config check` show it."""

    timezone: str
    upcoming: tuple[Upcoming, ...]
    quiet: tuple[str, ...]
    """Quiet hours, as they are written in the settings."""
    quiet_until: datetime | None
    """When the current quiet hours end; None: it is not quiet."""

    def lines(self) -> Iterator[tuple[str, str]]:
        for one in self.upcoming:
            yield one.what, str(one)
        if self.quiet:
            until = f"; quiet until {self.quiet_until:%Y-%m-%d %H:%M} UTC" if self.quiet_until else ""
            yield "quiet hours", f"{', '.join(self.quiet)} ({self.timezone}){until}"


def agenda(app: Application, health: Mapping[str, SourceHealth] | None = None) -> Agenda:
    """What is scheduled; with the sources' `health`, intervals of sources are counted from their last readings."""
    settings, now = app.settings.schedule, app.now()
    own = app.settings.own_timings()
    upcoming = [
        Upcoming("next sync", described(settings.sync), _next(settings.sync, settings.timezone, now, None))
    ]
    for name, timing in own.items():
        read = health[name].succeeded if health is not None and name in health else None
        upcoming.append(
            Upcoming(
                f"next reading of {name}", described(timing), _next(timing, settings.timezone, now, read)
            )
        )
    quiet = tuple(str(span) for span in settings.quiet)
    return Agenda(settings.timezone, tuple(upcoming), quiet, settings.quiet_until(now))


def _next(timing: timedelta | str, zone: str, now: datetime, last: datetime | None) -> datetime | None:
    if isinstance(timing, str):
        return next_time(timing, zone, now)
    return None if last is None else max(now, last + timing)
