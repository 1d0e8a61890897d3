"""Every kind of cursor comes back from its text, and no text from elsewhere is taken for one."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import files
from connectors.errors import SourceDataError
from connectors.rows import sql_keyset, whole_reading
from connectors.wikidata import cursor
from connectors.wikidata.stream_cursor import StreamCursor
from tests.support.properties import drawing, editions

AT = datetime(2024, 1, 1, tzinfo=UTC)
CURSORS: dict[str, Any] = {
    "files": files._Cursor({"a.csv": "digest"}, "held", 7),
    "keyset": sql_keyset._Cursor("2024-01-01T00:00:00", {"key": "digest"}, 7, None, ["digest"], "mapping"),
    "whole": whole_reading.WholeCursor(7, {("crm:1", "crm:owner"): "digest"}),
    "stream": StreamCursor(list="inner", last="[{}]", due={"wd:Q1": 7}),
    "wikidata": cursor.Cursor(
        high=AT,
        seen={"wd:Q1": 7},
        due=frozenset({"wd:Q2"}),
        moved={"wd:Q3": "wd:Q1"},
        newest=9,
        unfinished=cursor.Unfinished((AT, "wd:Q1"), AT, "members"),
    ),
}


@pytest.mark.parametrize("kind", sorted(CURSORS))
def test_a_cursor_comes_back_from_its_text(kind: str) -> None:
    told = CURSORS[kind]
    assert type(told).load(told.dump()) == told
    assert type(told).load(told.dump()).dump() == told.dump()
    assert type(told).load(None) == type(told)()


@pytest.mark.parametrize("kind", sorted(CURSORS))
@pytest.mark.parametrize(
    "text",
    [
        "2024-01-01",
        "[]",
        "null",
        "{}",
        '{"format": 1}{',
        '{"format": 1, "colour": "red"}',
        '{"format": 1, "held": "x"}',
        "[" * 100_000,
        '{"format": ' + "1" * 5_000 + "}",
    ],
)
def test_a_text_from_elsewhere_is_refused(kind: str, text: str) -> None:
    with pytest.raises(SourceDataError, match="clear it to read everything again"):
        type(CURSORS[kind]).load(text)


@pytest.mark.parametrize("kind", sorted(CURSORS))
def test_a_cursor_of_a_newer_version_is_refused(kind: str) -> None:
    newer = {**json.loads(CURSORS[kind].dump()), "format": 99}
    with pytest.raises(SourceDataError, match="format 99"):
        type(CURSORS[kind]).load(json.dumps(newer))


@pytest.mark.parametrize("kind", sorted(CURSORS))
@pytest.mark.parametrize("wrong", [[[1]], {"\ud800": [1]}, "x", -1.5, True, None])
def test_a_field_of_another_type_is_refused_or_taken_for_what_it_is(kind: str, wrong: Any) -> None:
    fields = json.loads(CURSORS[kind].dump())
    for name in fields.keys() - {"format"}:
        text = json.dumps({**fields, name: wrong})
        try:
            loaded = type(CURSORS[kind]).load(text)
        except SourceDataError:
            continue
        assert type(loaded).load(loaded.dump()) == loaded


@editions(quick=100)
@pytest.mark.parametrize("kind", sorted(CURSORS))
def test_only_a_declared_error_leaves_a_cursor_of_any_text(kind: str, examples: int) -> None:
    whole = CURSORS[kind].dump()

    @drawing(examples)
    @given(st.text(), st.integers(0, len(whole) - 1), st.text(max_size=3))
    def holds(text: str, at: int, patch: str) -> None:
        for damaged in (text, whole[:at] + patch + whole[at + len(patch) :]):
            with suppress(SourceDataError):
                type(CURSORS[kind]).load(damaged)

    holds()
