"""Lengths of time in settings: one spelling for sources and for everything else."""

from __future__ import annotations

from datetime import timedelta

import pytest

from connectors.durations import parse_duration
from connectors.errors import SourceSettingsError
from connectors.settings import parse
from connectors.wikidata.stream import StreamSettings

STREAM = {
    "kind": "wikidata-stream",
    "agent": "test/1.0 (mailto:test@example.org)",
    "endpoint": "https://example.org/sparql",
    "subjects": ["wd:Q38"],
}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("24h", 86_400),
        ("3d", 259_200),
        ("1d12h", 129_600),
        ("2w", 1_209_600),
        ("0", 0),
        (7.5, 7.5),
        ("1.5h", 5_400),
    ],
)
def test_durations_read_as_they_are_written(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(("text", "span"), [("1d12h", timedelta(hours=36)), (90, timedelta(seconds=90))])
def test_a_source_reads_them_in_the_same_way(text: str | int, span: timedelta) -> None:
    assert parse(StreamSettings, "s", {**STREAM, "retention": text}).retention == span


@pytest.mark.parametrize("text", ["soon", "-1d", -1, "1e999", True, "PT15M", "٣d"])
def test_what_is_no_duration_is_refused_by_name(text: object) -> None:
    with pytest.raises(SourceSettingsError, match=r"^sources\.s\.retention: [^;]*$"):
        parse(StreamSettings, "s", {**STREAM, "retention": text})
