"""How often each kind of the retention policy is applied."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kbsync.home import Home
from kbsync.service.retention_times import Times

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
PERIODS = {"logs": 5 * DAY, "events": 30 * DAY, "reports": 100 * DAY}


def days_applied(days: int) -> dict[str, int]:
    """How often each kind is applied in so many days, if asked twice a day."""
    times, counts = Times(), dict.fromkeys(PERIODS, 0)
    for half in range(2 * days):
        now = NOW + half * DAY / 2
        due = times.due(PERIODS, now)
        times.note(due, now, deleted=())
        for what in due:
            counts[what] += 1
    return counts


def test_a_kind_is_applied_ten_times_in_its_period_and_at_most_once_a_day() -> None:
    assert days_applied(100) == {"logs": 100, "events": 34, "reports": 10}


def test_the_ledger_is_rewritten_only_after_something_was_deleted_from_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    times = Times(rewritten=NOW)
    times.note(["logs"], NOW, deleted=["logs"])
    times.write(home)
    assert not Times.read(home).is_rewrite_due(30 * DAY, NOW + 60 * DAY)
    times.note(["events"], NOW, deleted=["events"])
    times.write(home)
    again = Times.read(home)
    assert again == times
    assert again.is_rewrite_due(30 * DAY, NOW + 60 * DAY)
    assert not again.is_rewrite_due(30 * DAY, NOW + 20 * DAY)
    assert not again.is_rewrite_due(None, NOW + 60 * DAY)


@pytest.mark.parametrize(
    "content", ["", "{}", '{"applied": "2026-01-01T00:00:00+00:00"}', "[1]", '{"applied": 3}']
)
def test_with_a_file_of_an_older_version_or_a_damaged_one_everything_is_due(
    tmp_path: Path, content: str
) -> None:
    home = Home(tmp_path)
    home.retention.write_text(content)
    assert Times.read(home).due(PERIODS, NOW) == ["events", "logs", "reports"]


def test_a_clock_that_was_ahead_delays_nothing() -> None:
    times = Times(dict.fromkeys(PERIODS, NOW + DAY))
    assert times.due(PERIODS, NOW) == ["events", "logs", "reports"]
