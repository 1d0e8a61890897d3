"""When something happens: at intervals or as a crontab says, in a time zone, and never in quiet hours.

Clocks that are changed: a time that does not exist on the day when summer time begins is made up for as soon as the
clock has passed it; a fixed time that exists twice on the day when summer time ends counts once, the first time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from apscheduler.triggers.cron import CronTrigger
from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from connectors.durations import parse_duration
from connectors.guesses import did_you_mean

NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * sun",
    "@monthly": "0 0 1 * *",
}
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
"""In the order of crontab(5), where Sunday is 0 and 7; APScheduler counts from Monday."""
EXAMPLE = "write an interval such as '15m', or five fields of a crontab such as '30 2 * * mon-fri'"
_TICK = timedelta(microseconds=1)
_SPAN = re.compile(
    r"(?:(?P<days>[a-z]{3}(?:[-,][a-z]{3})*) +)?(?P<begin>\d{1,2}:\d{2}) ?- ?(?P<end>\d{1,2}:\d{2})"
)
_MIDNIGHT = "24:00"


def parse_timing(value: Any) -> Any:
    """An interval as a timedelta, or a crontab as normalised text; raises ValueError that says what to write."""
    if isinstance(value, str):
        text = NICKNAMES.get(value.strip().lower(), value)
        if text.strip().startswith("@"):
            raise ValueError(f"{value!r} is not one of {', '.join(NICKNAMES)}")
        if len(text.split()) == 5:
            return _checked_crontab(text)
    try:
        duration = parse_duration(value)
    except ValueError as error:
        raise ValueError(f"{error}; {EXAMPLE}") from error
    if isinstance(duration, timedelta) and duration <= timedelta(0):
        raise ValueError("this duration must be longer than 0")
    if not isinstance(duration, timedelta):
        raise ValueError(f"{value!r} is not a time: {EXAMPLE}")
    return duration


def _checked_crontab(text: str) -> str:
    text = " ".join(text.lower().split())
    try:
        found = _trigger(text, "UTC").get_next_fire_time(None, datetime(2000, 1, 1, tzinfo=UTC))
    except ValueError as error:
        raise ValueError(f"{text!r} is not a crontab: {error}; {EXAMPLE}") from error
    if found is None:
        raise ValueError(f"{text!r} names a date that never comes")
    return text


Timing = Annotated[
    timedelta | str,
    BeforeValidator(parse_timing),
    PlainSerializer(
        lambda value: value if isinstance(value, str) else value.total_seconds(), when_used="json"
    ),
]
"""A setting for when something happens: an interval, or a crontab's five fields."""


@cache
def _trigger(crontab: str, zone: str) -> CronTrigger:
    minute, hour, day, month, weekday = crontab.split()
    if day != "*" and weekday != "*":
        raise ValueError("it restricts both the day of the month and the weekday: restrict one of them")
    return CronTrigger(
        minute=minute,
        hour=hour,
        day=day,
        month=month,
        day_of_week=_weekdays(weekday),
        timezone=ZoneInfo(zone),
    )


def _weekdays(field: str) -> str:
    """A crontab's weekdays as the names of single days."""
    if field == "*":
        return field
    chosen: set[int] = set()
    for part in field.split(","):
        days, _, step = part.partition("/")
        first, dash, last = days.partition("-")
        begin = 0 if days == "*" else _weekday(first)
        end = 6 if days == "*" or (step and not dash) else _weekday(last if dash else first)
        end += 7 if end < begin else 0  # fri-mon, 6-1
        if step and not (step.isascii() and step.isdigit() and int(step)):
            raise ValueError(f"{step!r} is not a step")
        chosen |= {day % 7 for day in range(begin, end + 1, int(step or 1))}
    return ",".join(DAYS[day] for day in sorted(chosen))


def _weekday(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 7:
        return int(text)
    if text not in DAYS:
        raise ValueError(
            f"{text!r} is not a weekday: write a name such as mon, or a number from 0 (sun) to 7 (sun)"
        )
    return DAYS.index(text)


def next_time(timing: timedelta | str, zone: str, after: datetime) -> datetime:
    """The first time after `after`: one interval later, or the crontab's next time in `zone`, in UTC."""
    if isinstance(timing, timedelta):
        return after + timing
    trigger, at = _trigger(timing, zone), after
    found: datetime
    at_fixed_hours = timing.split()[1] != "*"
    while True:
        found = trigger.get_next_fire_time(None, at.astimezone(UTC) + _TICK)
        at = found.astimezone(UTC)
        if not (at_fixed_hours and found.fold):  # the second 02:30 of the night when summer time ends
            return at


def described(timing: timedelta | str) -> str:
    """A timing for people."""
    if isinstance(timing, str):
        return f"at {timing!r}"
    seconds = timing.total_seconds()
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"every {seconds / size:g}{unit}"
    return f"every {seconds:g}s"


def _zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(
            f"there is no time zone {name!r}; {did_you_mean(name, available_timezones())}write a name such as "
            "Europe/Berlin, or UTC"
        )
    return name


Zone = Annotated[str, AfterValidator(_zone)]


@dataclass(frozen=True, slots=True)
class QuietSpan:
    """Quiet hours: they begin at `begin` on each of `days` (0 is Sunday), and end at `end`, perhaps a day later."""

    days: frozenset[int]
    begin: time
    end: time | None
    """None: midnight, at the end of the day."""
    text: str

    def __str__(self) -> str:
        return self.text

    def on(self, day: date, zone: ZoneInfo) -> tuple[datetime, datetime] | None:
        """The span that begins on `day`, in UTC; None if none does."""
        if (day.weekday() + 1) % 7 not in self.days:
            return None
        over = self.end is None or self.end <= self.begin
        last = day + timedelta(days=1) if over else day
        begin = datetime.combine(day, self.begin, zone)
        end = datetime.combine(last, self.end or time(0), zone)
        return begin.astimezone(UTC), end.astimezone(UTC)


def parse_span(value: Any) -> Any:
    """`22:00-06:00` or `sat,sun 00:00-24:00` as a QuietSpan; raises ValueError."""
    if not isinstance(value, str):
        return value
    text = " ".join(value.lower().split())
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError(f"{value!r} are no quiet hours: write '22:00-06:00', or 'sat,sun 00:00-24:00'")
    end = None if found["end"] == _MIDNIGHT else _time(found["end"])
    begin = _time(found["begin"])
    if begin == end:
        raise ValueError(f"{value!r} begins when it ends: write 00:00-24:00 for whole days")
    days = frozenset(range(7))
    if found["days"]:
        days = frozenset(DAYS.index(name) for name in _weekdays(found["days"]).split(","))
    return QuietSpan(days, begin, end, text)


def _time(text: str) -> time:
    hour, minute = text.split(":")
    if int(hour) > 23 or int(minute) > 59:
        raise ValueError(f"{text} is not a time of day")
    return time(int(hour), int(minute))


QuietHours = Annotated[QuietSpan, BeforeValidator(parse_span), PlainSerializer(str, when_used="json")]


def quiet_until(spans: tuple[QuietSpan, ...], zone: str, now: datetime) -> datetime | None:
    """When the quiet hours that `now` is in end, overlapping ones taken together; None: it is not in any."""
    where, end = ZoneInfo(zone), None
    for _ in range(8):  # spans of one week at most follow each other
        at = end or now
        day = at.astimezone(where).date()
        around = [span.on(day - timedelta(days=back), where) for span in spans for back in (0, 1)]
        later = max((last for first, last in filter(None, around) if first <= at < last), default=None)
        if later is None:
            break
        end = later
    return end
