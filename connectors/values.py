"""Scalars that sources write in their own ways: instants, and literals as objects."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta

from connectors.errors import SourceDataError
from connectors.observations import Entity

_INSTANT = re.compile(
    r"([+-]?\d{1,16})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d):(\d\d)(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)
EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def instant(text: str) -> datetime:
    """An xsd:dateTime or xsd:date as an instant in UTC; no zone means UTC.

    Wikibase writes month or day 00 for "unknown", years before 1 and beyond 9999, and days that the
    month does not have: these become the nearest instant that a datetime can hold.
    Raises SourceDataError for anything else.
    """
    match = _INSTANT.fullmatch(text.strip())
    if not match:
        raise SourceDataError(f"{text!r} is not a date or time in ISO 8601")
    year, month, day = int(match[1]), max(1, int(match[2])), max(1, int(match[3]))
    if year < 1:
        return EARLIEST
    if year > 9999:
        return LATEST
    if month > 12 or day > 31:
        raise SourceDataError(f"{text!r} is not a date: month {month}, day {day}")
    day = min(day, calendar.monthrange(year, month)[1])
    hour, minute, second = (int(part or 0) for part in match.group(4, 5, 6))
    try:
        at = datetime(year, month, day, tzinfo=UTC) + timedelta(
            hours=hour, minutes=minute, seconds=second, microseconds=round(float(match[7] or 0) * 1e6)
        )
        return at - _offset(match[8])
    except OverflowError:
        return EARLIEST if year == 1 else LATEST


def _offset(zone: str | None) -> timedelta:
    if zone is None or zone == "Z":
        return timedelta()
    digits = zone[1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return -offset if zone[0] == "-" else offset


def literal(text: str) -> Entity:
    """A value that is no entity: it is its own label."""
    return Entity(id=f"lit:{text}", label=text)
