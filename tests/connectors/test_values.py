"""Instants as sources write them, and names both ways."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from connectors.errors import SourceDataError, SourceSettingsError
from connectors.namespaces import WIKIDATA, Namespaces
from connectors.values import EARLIEST, LATEST, instant, literal


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


def test_names_go_both_ways_and_the_longest_namespace_wins() -> None:
    names = Namespaces({**WIKIDATA, "demo": "https://demo.kbsync.example/entity/"})
    for curie in ("wd:Q30", "wds:Q30-AB", "wdt:P6", "demo:Q1"):
        assert names.compact(names.expand(curie)) == curie
    assert names.expand("wds:Q30-AB") == "http://www.wikidata.org/entity/statement/Q30-AB"
    assert names.compact("https://elsewhere.example/x") == "https://elsewhere.example/x"
    assert names.expand("https://elsewhere.example/x") == "https://elsewhere.example/x"


@pytest.mark.parametrize("curie", ["wd:Q1> . } DROP ALL #", "wd:Q 1", "wd:a\\b", "nope:Q1", "Q1", 'wd:"'])
def test_nothing_can_be_smuggled_into_a_query(curie: str) -> None:
    with pytest.raises(SourceDataError):
        Namespaces(WIKIDATA).expand(curie)


def test_a_prefix_must_be_an_iri() -> None:
    with pytest.raises(SourceSettingsError, match=r"prefixes\.crm"):
        Namespaces({"crm": "not an iri"})


def test_a_literal_is_its_own_label() -> None:
    assert (literal("42").id, literal("42").label) == ("lit:42", "42")
