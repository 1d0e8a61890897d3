"""Intervals, crontabs and quiet hours: what they mean, also when clocks change, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import TypeAdapter

from kbsync.errors import BadConfiguration
from kbsync.settings.loading import load
from kbsync.settings.timing import QuietHours, QuietSpan, described, next_time, parse_timing, quiet_until
from tests.support.paths import REPOSITORY

BERLIN = "Europe/Berlin"
SPAN: TypeAdapter[QuietSpan] = TypeAdapter(QuietHours)


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(BERLIN)).astimezone(UTC)


def times(crontab: str, after: datetime, count: int) -> list[str]:
    """The next times, on Berlin's clocks."""
    found = []
    for _ in range(count):
        after = next_time(parse_timing(crontab), BERLIN, after)
        found.append(after.astimezone(ZoneInfo(BERLIN)).strftime("%m-%d %H:%M%z"))
    return found


@pytest.mark.parametrize(
    ("crontab", "expected"),
    [
        ("30 2 * * *", ["05-01 02:30+0200", "05-02 02:30+0200", "05-03 02:30+0200"]),
        ("*/20 * * * *", ["04-30 12:20+0200", "04-30 12:40+0200", "04-30 13:00+0200"]),
        ("0 12 * * 0", ["05-03 12:00+0200", "05-10 12:00+0200", "05-17 12:00+0200"]),
        ("0 12 * * 7", ["05-03 12:00+0200", "05-10 12:00+0200", "05-17 12:00+0200"]),
        ("0 12 * * 1-5", ["05-01 12:00+0200", "05-04 12:00+0200", "05-05 12:00+0200"]),
        ("0 12 * * fri-mon", ["05-01 12:00+0200", "05-02 12:00+0200", "05-03 12:00+0200"]),
        ("0 12 * * 1/3", ["05-04 12:00+0200", "05-07 12:00+0200", "05-11 12:00+0200"]),
        ("0 0 1 * *", ["05-01 00:00+0200", "06-01 00:00+0200", "07-01 00:00+0200"]),
        ("@weekly", ["05-03 00:00+0200", "05-10 00:00+0200", "05-17 00:00+0200"]),
    ],
)
def test_a_crontab_means_what_crontab_5_says(crontab: str, expected: list[str]) -> None:
    """Sunday is 0 and 7, although APScheduler counts from Monday; 2026-04-30 is a Thursday."""
    assert times(crontab, local("2026-04-30T12:00"), 3) == expected


def test_a_time_that_does_not_exist_is_made_up_for_once() -> None:
    assert times("30 2 * * *", local("2026-03-28T12:00"), 2) == ["03-29 03:30+0200", "03-30 02:30+0200"]


def test_a_fixed_time_that_exists_twice_counts_once_and_a_repeated_one_goes_on() -> None:
    assert times("30 2 * * *", local("2026-10-24T12:00"), 2) == ["10-25 02:30+0200", "10-26 02:30+0100"]
    assert times("*/30 * * * *", local("2026-10-25T01:45"), 5) == [
        "10-25 02:00+0200",
        "10-25 02:30+0200",
        "10-25 02:00+0100",
        "10-25 02:30+0100",
        "10-25 03:00+0100",
    ]


def test_the_next_time_is_always_later() -> None:
    at = local("2026-05-01T02:30")
    assert next_time("30 2 * * *", BERLIN, at) == at + timedelta(days=1)
    assert next_time(timedelta(minutes=15), BERLIN, at) == at + timedelta(minutes=15)


def test_a_timing_for_people() -> None:
    assert described(parse_timing("90m")) == "every 90m"
    assert described(parse_timing("24h")) == "every 1d"
    assert described(parse_timing("30 2  * * MON-FRI")) == "at '30 2 * * mon-fri'"


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("soon", "is not a duration"),
        ("0", "longer than 0"),
        ("-5m", "is not a duration"),
        ("* * * *", "five fields"),
        ("61 * * * *", "maximum value"),
        ("0 0 31 2 *", "never comes"),
        ("0 0 * * 8", "is not a weekday"),
        ("0 0 * * mon-", "is not a weekday"),
        ("0 0 * * mon/0", "is not a step"),
        ("0 0 1 * mon", "both the day of the month and the weekday"),
        ("@never", "is not one of @hourly"),
    ],
)
def test_what_is_no_time_is_refused_by_key(tmp_path: Path, value: str, complaint: str) -> None:
    file = tmp_path / "kbsync.toml"
    for text, key in (
        (f"[schedule]\nsync = '{value}'\n", "schedule.sync"),
        (f"[sources.crm]\nkind = 'files'\nfolder = '.'\nschedule = '{value}'\n", "crm.schedule"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(BadConfiguration, match=complaint) as refused:
            load(file, {})
        assert key in str(refused.value)


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("timezone = 'Europe/Berlín'", "did you mean 'Europe/Berlin'"),
        ("quiet = ['22-6']", "write '22:00-06:00'"),
        ("quiet = ['25:00-06:00']", "is not a time of day"),
        ("quiet = ['06:00-06:00']", "begins when it ends"),
        ("quiet = ['foo 06:00-07:00']", "is not a weekday"),
        ("quiet = [7]", "quiet"),
    ],
)
def test_zones_and_quiet_hours_that_do_not_exist_are_refused(
    tmp_path: Path, setting: str, complaint: str
) -> None:
    file = tmp_path / "kbsync.toml"
    file.write_text(f"[schedule]\n{setting}\n", encoding="utf-8")
    with pytest.raises(BadConfiguration, match=complaint):
        load(file, {})


def test_the_environment_may_set_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KBSYNC_SCHEDULE__SYNC", "0 * * * *")
    monkeypatch.setenv("KBSYNC_SCHEDULE__QUIET", '["22:00-06:00"]')
    schedule = load(None).schedule
    assert schedule.sync == "0 * * * *"
    assert [str(span) for span in schedule.quiet] == ["22:00-06:00"]


@pytest.mark.parametrize(
    ("now", "end"),
    [
        ("2026-04-30T12:00", None),
        ("2026-04-30T22:00", "2026-05-01T06:00"),
        ("2026-05-01T05:59", "2026-05-01T06:00"),
        ("2026-05-01T06:00", None),
        ("2026-05-02T12:00", "2026-05-04T06:00"),  # a Saturday: the nights and the weekend follow each other
        ("2026-05-01T23:00", "2026-05-04T06:00"),
        ("2026-03-28T23:00", "2026-03-30T06:00"),  # clocks change in the night to Sunday
    ],
)
def test_quiet_hours_end_when_the_last_that_overlaps_does(now: str, end: str | None) -> None:
    spans = tuple(SPAN.validate_python(text) for text in ("22:00-06:00", "sat,sun 00:00-24:00"))
    assert quiet_until(spans, BERLIN, local(now)) == (None if end is None else local(end))


def test_quiet_hours_all_week_end_some_day() -> None:
    assert quiet_until((SPAN.validate_python("00:00-24:00"),), BERLIN, local("2026-04-30T12:00")) is not None


def test_the_example_of_the_page_is_settings(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "scheduling.md").read_text(encoding="utf-8")
    file = tmp_path / "kbsync.toml"
    file.write_text(page.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    settings = load(file, {})
    assert settings.own_timings() == {"crm": "0 */4 * * mon-fri"}
    assert len(settings.schedule.quiet) == 2
