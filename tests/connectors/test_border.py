"""The border: what passes can be stored anywhere, and nothing else passes, at bounded cost."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from ipaddress import ip_address
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import border
from connectors.errors import AnswerTooLarge, SourceDataError
from tests.support.properties import SCALARS, drawing, editions


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ("Anna", "Anna"),
        (b"Anna", "Anna"),
        (memoryview("Zoë".encode()), "Zoë"),
        (1, "1"),
        (42.0, "42"),
        (-0.0, "0"),
        (0.5, "0.5"),
        (1e-7, "0.0000001"),
        (2.0**53 - 1, "9007199254740991"),
        (Decimal("42.00"), "42"),
        (Decimal("19.90"), "19.9"),
        (Decimal("1E+3"), "1000"),
        (Decimal("-0"), "0"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (ip_address("::1"), "::1"),
        (date(2024, 5, 1), "2024-05-01"),
        (datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=2))), "2024-05-01T10:00:00+00:00"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2))), "0001-01-01T00:00:00+02:00"),
    ],
)
def test_scalars_of_every_format_have_one_text(value: object, text: str | None) -> None:
    assert border.text_of(value, "subject") == text


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (True, "subject is True (of type bool), not a string"),
        (float("nan"), "subject is nan (of type float)"),
        (float("inf"), "subject is inf"),
        (2.0**60, "of type float"),
        (2.0**53, "of type float"),
        (5e-324, "of type float"),
        (Decimal("NaN"), "subject is NaN"),
        (Decimal("1E+1000000"), "of type Decimal"),
        pytest.param(10**5000, "an integer of 16610 bits", id="long"),
        (timedelta(days=1), "subject is 1 day, 0:00:00 (of type timedelta)"),
        (b"\xff\xfe", "2 bytes that are not UTF-8"),
        ([1], "a value of type list"),
        ({"a": 1}, "a value of type dict"),
        (object(), "a value of type object"),
        ("a\0b", r"NUL (U+0000): 'a\x00b'"),
        ("\ud800", r"a lone surrogate (U+D800): '\ud800'"),
        ("é" * 5000, "5000 characters; at most 4096"),
    ],
)
def test_what_has_no_obvious_or_storable_text_is_refused_and_named(value: object, why: str) -> None:
    with pytest.raises(SourceDataError) as refused:
        border.text_of(value, "subject")
    assert why in str(refused.value)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("text", ["", "²", "٣", "1_000", "+1", "-1", " 1", "1.0", "9" * 5000, str(2**63)])
def test_whole_numbers_are_ascii_digits_within_bounds(text: str) -> None:
    with pytest.raises(SourceDataError, match=r"references is .*, not a whole number"):
        border.whole_number(text, "references")
    assert border.whole_number("007", "references") == 7


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
@pytest.mark.parametrize("depth", [33, 900, 100_000])
def test_json_has_a_greatest_depth(opening: str, depth: int) -> None:
    closing = {"[": "]", '{"a":': "}", '[{"a":': "}]"}[opening]
    with pytest.raises(SourceDataError, match="nested deeper than 32 levels"):
        border.decode_json(opening * depth + "1" + closing * depth, "cursor")
    shallow = border.MAX_DEPTH // len(closing)
    assert border.decode_json(opening * shallow + "1" + closing * shallow, "cursor")


def test_json_has_a_greatest_size_and_number_of_parts() -> None:
    with pytest.raises(AnswerTooLarge, match="11 bytes of JSON; at most 10"):
        border.decode_json(b'"123456789"', "event", 10)
    with pytest.raises(AnswerTooLarge, match="more than 100 parts"):
        border.decode_json("[" + "[]," * 60 + "[]]", "event", most_parts=100)


def test_one_bad_value_costs_its_row_and_not_the_document() -> None:
    document = '[NaN, -Infinity, 1e999, %s, "\\ud800", "fine"]' % ("7" * 5000)
    *bad, fine = border.decode_json(document, "answer")
    assert fine == "fine"
    for value in bad:
        with pytest.raises(SourceDataError):
            border.text_of(value, "object")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"'a'", b"\xef\xbb\xbf\xef\xbb\xbf1", b"1 2"])
def test_what_is_not_json_is_refused(data: bytes) -> None:
    with pytest.raises(SourceDataError, match="answer: not"):
        border.decode_json(data, "answer")


@editions(quick=100)
def test_only_declared_errors_leave_the_json_border(examples: int) -> None:
    @drawing(examples)
    @given(st.binary() | st.text().map(str.encode))
    def holds(data: bytes) -> None:
        try:
            value = border.decode_json(data, "answer")
        except SourceDataError:
            return
        assert value == json.loads(data.decode("utf-8-sig"), parse_constant=border.Unusable)

    holds()


@editions(quick=200)
def test_every_text_that_passes_can_be_stored_and_every_refusal_can_be_printed(examples: int) -> None:
    @drawing(examples)
    @given(SCALARS)
    def holds(value: Any) -> None:
        text, refusal = None, ""
        try:
            text = border.text_of(value, "object")
        except SourceDataError as refused:
            refusal = str(refused)
        assert refusal.isprintable()
        if text is not None:
            assert "\0" not in text
            assert text.encode().decode() == text
            assert border.text_of(text, "object") == text

    holds()


def test_instants_without_a_zone_keep_none() -> None:
    assert border.text_of(datetime(2024, 5, 1, 12), "start") == "2024-05-01T12:00:00"
    assert border.text_of(datetime(2024, 5, 1, 12, tzinfo=UTC), "start") == "2024-05-01T12:00:00+00:00"
