"""Instants and dates as sources write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.dates import EARLIEST, LATEST, Interval, instant, interval, one_spelling, wikibase_interval
from connectors.errors import SourceDataError
from tests.support.properties import drawing, editions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-01T10:00:00Z", datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ("2024-05-01T10:00:00+00:00", datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ("2024-05-01T10:00:00+02:00", datetime(2024, 5, 1, 8, tzinfo=UTC)),
        ("2024-05-01T10:00:00-0530", datetime(2024, 5, 1, 15, 30, tzinfo=UTC)),
        ("2024-05-01 10:00:00.25", datetime(2024, 5, 1, 10, 0, 0, 250_000, tzinfo=UTC)),
        ("2024-05-01", datetime(2024, 5, 1, tzinfo=UTC)),
        ("+2024-05-01T00:00:00Z", datetime(2024, 5, 1, tzinfo=UTC)),
        ("2015-00-00T00:00:00Z", datetime(2015, 1, 1, tzinfo=UTC)),
        ("2015-02-30T00:00:00Z", datetime(2015, 2, 28, tzinfo=UTC)),
        ("2015-12-31T24:00:00Z", datetime(2016, 1, 1, tzinfo=UTC)),
        ("-0044-03-15T00:00:00Z", EARLIEST),
        ("0001-01-01T00:00:00+05:00", EARLIEST),
        ("13798000000-01-01T00:00:00Z", LATEST),
    ],
)
def test_instants_are_compared_as_instants(text: str, expected: datetime) -> None:
    assert instant(text) == expected
    assert instant(text).utcoffset() == expected.utcoffset()


@pytest.mark.parametrize(
    "text", ["", "last week", "2024-13-01", "2024-05-01T10:00Z", "٢٠٢٤-05-01", "2024-05"]
)
def test_what_is_no_instant_is_said_to_be_none(text: str) -> None:
    with pytest.raises(SourceDataError, match="not a date"):
        instant(text)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "first", "past"),
    [
        ("2020", utc(2020, 1, 1), utc(2021, 1, 1)),
        ("+2020", utc(2020, 1, 1), utc(2021, 1, 1)),
        ("2020Z", utc(2020, 1, 1), utc(2021, 1, 1)),
        ("2020-02", utc(2020, 2, 1), utc(2020, 3, 1)),
        ("2020-12", utc(2020, 12, 1), utc(2021, 1, 1)),
        ("2020-12+02:00", utc(2020, 11, 30, 22), utc(2020, 12, 31, 22)),
        ("2020-02-29", utc(2020, 2, 29), utc(2020, 3, 1)),
        ("2020-02-29-05:00", utc(2020, 2, 29, 5), utc(2020, 3, 1, 5)),
        ("2020-05-01T10:30Z", utc(2020, 5, 1, 10, 30), utc(2020, 5, 1, 10, 31)),
        ("2020-05-01T10:30:00Z", utc(2020, 5, 1, 10, 30), utc(2020, 5, 1, 10, 30)),
        ("2020-00-00T00:00:00Z", utc(2020, 1, 1), utc(2021, 1, 1)),
        ("2020-05-00", utc(2020, 5, 1), utc(2020, 6, 1)),
        ("202X", utc(2020, 1, 1), utc(2030, 1, 1)),
        ("19XX", utc(1900, 1, 1), utc(2000, 1, 1)),
        ("1XXX", utc(1000, 1, 1), utc(2000, 1, 1)),
        ("2020s", utc(2020, 1, 1), utc(2030, 1, 1)),
        ("21st century", utc(2001, 1, 1), utc(2101, 1, 1)),
        ("1st Century", utc(1, 1, 1), utc(101, 1, 1)),
        (" 2020 ", utc(2020, 1, 1), utc(2021, 1, 1)),
        ("9999", utc(9999, 1, 1), LATEST),
        ("9999-12-31", utc(9999, 12, 31), LATEST),
        ("+12020", LATEST, LATEST),
        ("-0044", EARLIEST, EARLIEST),
        ("0001+14:00", EARLIEST, utc(2, 1, 1)),
    ],
)
def test_a_written_date_is_all_the_instants_that_it_may_mean(
    text: str, first: datetime, past: datetime
) -> None:
    assert interval(text) == Interval(first, past)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20",
        "20200501",
        "12020",
        "2020-13",
        "2020-00",
        "2020-5",
        "2020-05-32",
        "2020-05-01T25:00",
        "X020",
        "２０２０",
        "²020",
        "20XXX",
        "9" * 5000,
        "2020-05-01T10:00:61Z",
        "2020-05-01T10:00:00+99:99",
        "2020-05-01T10:00:00-02:60",
        "2020-05+16:00",
        "0x20",
    ],
)
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(SourceDataError, match="not a date"):
        interval(text)


@pytest.mark.parametrize(
    ("text", "precision", "first", "past"),
    [
        ("2026-01-01T00:00:00Z", 14, utc(2026, 1, 1), utc(2026, 1, 1)),
        ("2026-01-01T00:00:00Z", 13, utc(2026, 1, 1), utc(2026, 1, 1, 0, 1)),
        ("2026-01-01T00:00:00Z", 12, utc(2026, 1, 1), utc(2026, 1, 1, 1)),
        ("2026-01-01T00:00:00Z", 11, utc(2026, 1, 1), utc(2026, 1, 2)),
        ("2026-02-01T00:00:00Z", 10, utc(2026, 2, 1), utc(2026, 3, 1)),
        ("2026-01-01T00:00:00Z", 9, utc(2026, 1, 1), utc(2027, 1, 1)),
        ("2026-05-01T00:00:00Z", 9, utc(2026, 1, 1), utc(2027, 1, 1)),
        ("2020-01-01T00:00:00Z", 8, utc(2020, 1, 1), utc(2030, 1, 1)),
        ("2100-01-01T00:00:00Z", 7, utc(2001, 1, 1), utc(2101, 1, 1)),
        ("2001-01-01T00:00:00Z", 7, utc(2001, 1, 1), utc(2101, 1, 1)),
        ("2000-01-01T00:00:00Z", 7, utc(1901, 1, 1), utc(2001, 1, 1)),
        ("2000-01-01T00:00:00Z", 6, utc(1001, 1, 1), utc(2001, 1, 1)),
        ("2000-01-01T00:00:00Z", 0, EARLIEST, LATEST),
        ("-0500-01-01T00:00:00Z", 9, EARLIEST, EARLIEST),
    ],
)
def test_wikibase_gives_the_precision_as_a_number(
    text: str, precision: int, first: datetime, past: datetime
) -> None:
    assert wikibase_interval(text, precision) == Interval(first, past)


@pytest.mark.parametrize("text", ["2020", "2020-05-01T10:30:00Z", "-0044", "9999"])
def test_an_interval_is_read_as_it_was_written(text: str) -> None:
    assert Interval.parse(str(interval(text))) == interval(text)


@editions(quick=200)
def test_any_text_is_a_date_within_bounds_or_refused(examples: int) -> None:
    shapes = st.from_regex(r"[+-]?[0-9X]{1,6}(-[0-9]{2}){0,2}([T ][0-9:.]{5,12})?(Z|[+-][0-9]{2}:?[0-9]{2})?")

    @drawing(examples)
    @given(st.one_of(st.text(max_size=30), shapes), st.integers(0, 20))
    def holds(text: str, precision: int) -> None:
        for read in (interval, lambda text: wikibase_interval(text, precision)):
            try:
                found = read(text)
            except SourceDataError:
                continue
            assert EARLIEST <= found.first <= found.past <= LATEST
            assert Interval.parse(str(found)) == found

    holds()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-0044-03-15", "-0100-07-12"),
        ("-0044-03-15", "0001-01-01"),
        ("-0044", "-0500"),
        ("10000-01-01", "20000-06-01"),
        ("2020-02-30", "2020-02-29"),
        ("31 June 2020", "30 June 2020"),
        ("2021-02-29T00:00:00Z", "2021-02-28"),
    ],
)
def test_dates_that_no_calendar_or_clock_has_are_not_one_another(one: str, other: str) -> None:
    assert one_spelling(one) is None or one_spelling(one) != one_spelling(other)


def test_days_are_one_in_each_spelling() -> None:
    spellings = ("1 May 2020", "May 1st, 2020", "2020-05-01", "2020-05-01T00:00:00Z", "+2020-05-01")
    assert len({one_spelling(text) for text in spellings}) == 1
    assert one_spelling("2020-02-29") is not None
