"""Instants and dates.  A date is an interval: all the instants that a date of its precision may mean.

"2026" means the whole year, not 1 January.  A statement that ended in "2026" has certainly ended only
when the year is over, and one that began in the "21st century" may hold from the century's first day on.

    instant("2026-05-01T10:00:00Z")         an exact point in time
    interval("2026")                        2026-01-01 until 2027-01-01
    interval("2026-05"), interval("202X"), interval("21st century")
    wikibase_interval("2026-01-01T00:00:00Z", precision=9)
    one_spelling("1 May 2020")              the same text as for "2020-05-01"

Supported formats: ISO 8601, `X` for unknown digits (EDTF, ISO 8601-2:2019, section 4.3), and Wikibase's
own ("Wikibase/DataModel", section "Dates and times").  All results are in UTC.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache

from connectors.border import shown
from connectors.errors import SourceDataError

EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)

_ZONE = r"(?P<zone>Z|[+-]\d\d:?\d\d)?"
_INSTANT = re.compile(
    r"(?P<year>[+-]?\d{1,16})-(?P<month>\d\d)-(?P<day>\d\d)"
    rf"(?:[T ](?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?P<fraction>\.\d+)?)?{_ZONE}",
    re.ASCII,
)
_MINUTE = re.compile(rf"(?P<until>[+-]?\d{{4,16}}-\d\d-\d\d[T ]\d\d:\d\d){_ZONE}", re.ASCII)
_DAY = re.compile(rf"(?P<year>[+-]?\d{{1,16}})-(?P<month>\d\d)-(?P<day>\d\d){_ZONE}", re.ASCII)
_LEADING_DAY = re.compile(r"(?P<year>[+-]?\d{1,16})-(?P<month>\d\d)-(?P<day>\d\d)", re.ASCII)
_MONTH = re.compile(rf"(?P<year>[+-]?\d{{4,16}})-(?P<month>\d\d){_ZONE}", re.ASCII)
_YEAR = re.compile(rf"(?P<year>\d{{4}}|[+-]\d{{4,16}}){_ZONE}", re.ASCII)
_UNKNOWN_DAY = re.compile(r"(?P<year>[+-]?\d{4,16})-(?P<month>\d\d)-00(?:[T ]00:00:00(?:\.0+)?)?Z?", re.ASCII)
_UNKNOWN_DIGITS = re.compile(r"(?=.{4}$)(?P<known>\d{1,3})(?P<unknown>X{1,3})", re.ASCII)
_CENTURY = re.compile(r"(?P<number>\d{1,2})(?:st|nd|rd|th)[ -]century", re.ASCII | re.IGNORECASE)
_DECADE = re.compile(r"(?P<decade>\d{3}0)s", re.ASCII)

_MONTHS = tuple(month.lower() for month in calendar.month_name)
_WRITTEN = tuple(
    re.compile(form, re.ASCII | re.IGNORECASE)
    for form in (
        r"(?P<day>\d{1,2})(?:st|nd|rd|th|\.)? (?:of )?(?P<month>[A-Za-z]{3,9})\.?,? (?P<year>\d{4})",
        r"(?P<month>[A-Za-z]{3,9})\.? (?P<day>\d{1,2})(?:st|nd|rd|th)?,? (?P<year>\d{4})",
    )
)
"""Dates as English writes them."""
_MAX_DATE = 40
"""Characters of the longest text that is taken for a date."""

_WIKIBASE_DECADE, _WIKIBASE_YEAR, _WIKIBASE_MONTH = 8, 9, 10
_WIKIBASE_UNITS = {11: timedelta(days=1), 12: timedelta(hours=1), 13: timedelta(minutes=1)}


@dataclass(frozen=True, slots=True)
class Interval:
    """All instants from `first` up to but not including `past`, in UTC; equal for an exact instant."""

    first: datetime
    past: datetime

    @classmethod
    def at(cls, moment: datetime) -> Interval:
        """An exact instant."""
        return cls(moment, moment)

    def __str__(self) -> str:
        """ISO 8601: one instant, or two with a slash between them."""
        first = self.first.isoformat()
        return first if self.first == self.past else f"{first}/{self.past.isoformat()}"

    @classmethod
    def parse(cls, text: str) -> Interval:
        """The inverse of `str`.  Raises ValueError for any other text."""
        first, _, past = text.partition("/")
        return cls(datetime.fromisoformat(first), datetime.fromisoformat(past or first))


def instant(text: str) -> datetime:
    """Parse an xsd:dateTime or xsd:date as an instant; without a time zone it is in UTC.

    Wikibase writes month or day 00 for "unknown", years before 1 and after 9999, and days that the
    month does not have: these become the nearest instant that a datetime can represent.
    Raises SourceDataError for anything else.
    """
    match = _INSTANT.fullmatch(text.strip())
    if not match:
        raise SourceDataError(f"{shown(text)} is not a date or time in ISO 8601")
    year, month, day = int(match["year"]), max(1, int(match["month"])), max(1, int(match["day"]))
    if year < 1:
        return EARLIEST
    if year > LATEST.year:
        return LATEST
    hour, minute, second = (int(part or 0) for part in match.group("hour", "minute", "second"))
    if month > 12 or day > 31 or hour > 24 or minute > 59 or second > 60:
        raise SourceDataError(f"{shown(text)} is not a date: a part of it is out of range")
    day = min(day, calendar.monthrange(year, month)[1])
    try:
        at = datetime(year, month, day, tzinfo=UTC) + timedelta(
            hours=hour,
            minutes=minute,
            seconds=second,
            microseconds=round(float(match["fraction"] or 0) * 1e6),
        )
        return min(max(at - _offset(match["zone"]), EARLIEST), LATEST)
    except OverflowError:
        return EARLIEST if year == 1 else LATEST


def interval(text: str) -> Interval:
    """Parse a date as the interval that it means; without a time zone it is in UTC.

    Raises SourceDataError for text that is not a date.
    """
    text = text.strip()
    if match := _UNKNOWN_DAY.fullmatch(text):
        return _month(text, match) if match["month"] != "00" else _years(int(match["year"]))
    if match := _DAY.fullmatch(text):
        return _lasting(instant(text), timedelta(days=1))
    if match := _MINUTE.fullmatch(text):
        return _lasting(instant(f"{match['until']}:00{match['zone'] or ''}"), timedelta(minutes=1))
    if match := _MONTH.fullmatch(text):
        return _in_utc(_month(text, match), match["zone"])
    if match := _YEAR.fullmatch(text):
        return _in_utc(_years(int(match["year"])), match["zone"])
    if match := _UNKNOWN_DIGITS.fullmatch(text):
        unit = 10 ** len(match["unknown"])
        return _years(int(match["known"]) * unit, unit)
    if match := _CENTURY.fullmatch(text):
        return _years(int(match["number"]) * 100 - 99, 100)
    if match := _DECADE.fullmatch(text):
        return _years(int(match["decade"]), 10)
    return Interval.at(instant(text))


@lru_cache(maxsize=65_536)
def one_spelling(text: str) -> str | None:
    """The spelling that all texts for the same date share, or None if the text is not a date.

    "1 May 2020", "2020-05-01" and "2020-05-01T00:00:00Z" are one day: databases write days as midnights.  "2020"
    and "2020-05" are not, because they say less.  None also for years before 1 and after 9999 and for days that their
    month does not have: `instant` takes many of these for one.
    """
    text = text.strip()
    if len(text) > _MAX_DATE or not any("0" <= character <= "9" for character in text):
        return None
    iso = _in_iso(text)
    try:
        found = interval(iso)
    except SourceDataError:
        return None
    if found.first <= EARLIEST or found.past >= LATEST or _has_no_such_day(iso):
        return None
    if found.first == found.past and found.first.time() == time.min:
        found = _lasting(found.first, timedelta(days=1))
    return str(found)


def _has_no_such_day(iso: str) -> bool:
    """Whether a date within bounds names a day beyond the end of its month, such as 30 February."""
    match = _LEADING_DAY.match(iso)
    if match is None or match["month"] == "00":
        return False
    year, month, day = (int(part) for part in match.group("year", "month", "day"))
    return day > calendar.monthrange(year, month)[1]


def _in_iso(text: str) -> str:
    """An English date in ISO 8601; any other text as it is."""
    for form in _WRITTEN:
        match = form.fullmatch(text)
        months = [
            n for n, name in enumerate(_MONTHS) if match and name and name.startswith(match["month"].lower())
        ]
        if match and months:
            return f"{match['year']}-{months[0]:02}-{int(match['day']):02}"
    return text


def wikibase_interval(text: str, precision: int) -> Interval:
    """The interval of a Wikibase time value; precision 7 is a century, 9 a year, 10 a month, 11 a day.

    As in Wikibase, centuries and millennia end with their round year (2001 to 2100 is the 21st century)
    and decades begin with theirs.  Raises SourceDataError for text that is not a date.
    """
    begun = instant(text)
    if begun in (EARLIEST, LATEST) or precision > max(_WIKIBASE_UNITS):
        return Interval.at(begun)
    if precision in _WIKIBASE_UNITS:
        return _lasting(begun, _WIKIBASE_UNITS[precision])
    if precision == _WIKIBASE_MONTH:
        return _month_of(begun)
    if precision == _WIKIBASE_YEAR:
        return _years(begun.year)
    unit = 10 ** (_WIKIBASE_YEAR - max(0, precision))
    if precision == _WIKIBASE_DECADE:
        return _years(begun.year - begun.year % unit, unit)
    return _years((begun.year - 1) // unit * unit + 1, unit)


def _month(text: str, match: re.Match[str]) -> Interval:
    if not 1 <= int(match["month"]) <= 12:
        raise SourceDataError(f"{shown(text)} is not a date: there is no month {match['month']}")
    return _month_of(instant(f"{match['year']}-{match['month']}-01"))


def _month_of(begun: datetime) -> Interval:
    days = calendar.monthrange(begun.year, begun.month)[1]
    return _lasting(begun.replace(day=1), timedelta(days=days))


def _years(first: int, count: int = 1) -> Interval:
    return Interval(_new_year(first), _new_year(first + count))


def _new_year(year: int) -> datetime:
    """The first instant of a year, limited to what a datetime can represent."""
    return EARLIEST if year < 1 else LATEST if year > LATEST.year else datetime(year, 1, 1, tzinfo=UTC)


def _lasting(begun: datetime, span: timedelta) -> Interval:
    return Interval(begun, begun + span if LATEST - begun > span else LATEST)


def _in_utc(local: Interval, zone: str | None) -> Interval:
    offset = _offset(zone)
    try:
        return Interval(max(local.first - offset, EARLIEST), min(local.past - offset, LATEST))
    except OverflowError:  # at the limits of a datetime, hours do not matter
        return local


def _offset(zone: str | None) -> timedelta:
    """The offset of a time zone such as `+02:00` from UTC."""
    if zone is None or zone == "Z":
        return timedelta()
    digits = zone[1:].replace(":", "")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 15 or minutes > 59:
        raise SourceDataError(f"{shown(zone)} is not a date's time zone: no zone is that far from UTC")
    offset = timedelta(hours=hours, minutes=minutes)
    return -offset if zone[0] == "-" else offset
