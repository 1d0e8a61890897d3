"""Instants as people type them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def instant(text: str | None, now: datetime) -> datetime | None:
    """`2026-05-01`, `2026-05-01T12:00` (in UTC unless it says otherwise), or `3h` for three hours before `now`.

    Raises UsageError for anything else.
    """
    from connectors.durations import parse_duration
    from kbsync.errors import UsageError

    if text is None:
        return None
    try:
        given = datetime.fromisoformat(text.strip())
        return given if given.tzinfo else given.replace(tzinfo=UTC)
    except ValueError:
        pass  # it may be a length of time
    try:
        ago = parse_duration(text)
        assert isinstance(ago, timedelta)
        return now - ago
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{text!r} is not a point in time",
            "write a date (2026-05-01), date and time in UTC (2026-05-01T12:00), or how long ago (90m, 24h, 3d)",
        ) from error
