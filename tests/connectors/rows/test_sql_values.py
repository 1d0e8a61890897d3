"""Every type of key is a key, and no value of one row makes a table unreadable."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from connectors.clock import Clock
from connectors.errors import SourceDataError
from connectors.observations import Connector
from connectors.registry import connect
from connectors.rows import sql_keyset
from tests.support.properties import drawing, editions
from tests.support.sink import Sink

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
KEYSET = {"mode": "keyset", "updated_at": "changed", "key": "id"}
Open = Callable[..., Connector]


class Database:
    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = sa.create_engine(url)
        self.opened: list[Connector] = []

    def run(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def open(self, **settings: Any) -> Connector:
        own = {"kind": "sql", "url": self.url, "table": "t", "namespace": "crm", "relation": "crm:owner"}
        source = connect("crm", {**own, **settings}, clock=Clock(now=lambda: NOW))
        self.opened.append(source)
        return source

    def close(self) -> None:
        for connector in self.opened:
            connector.close()
        self.engine.dispose()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/crm.db")
    # Nothing here outlives a crash: writes need not reach the disk.
    sa.event.listen(database.engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous = OFF"))
    yield database
    database.close()


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Database]:
    database = Database(postgres_url)
    database.run("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    yield database
    database.close()


UUID_TEXT = "0f0e0d0c-0b0a-0908-0706-050403020100"
KEYS = [
    ("uuid", f"'{UUID_TEXT}'", UUID_TEXT),
    ("integer", "42", "42"),
    ("bigint", "9007199254740993", "9007199254740993"),
    ("numeric(10,2)", "42.00", "42"),
    ("numeric", "1.50", "1.5"),
    ("double precision", "42", "42"),
    ("text", "'a-1'", "a-1"),
    ("text", "'  padded '", "padded"),
    ("varchar(9)", "'Ärzte'", "Ärzte"),
    ("char(9)", "'abc'", "abc"),
    ("bytea", "'a-1'", "a-1"),
    ("date", "'2024-05-01'", "2024-05-01"),
    ("timestamptz", "'2024-05-01 12:00+02'", "2024-05-01T10:00:00+00:00"),
    ("timestamp", "'2024-05-01 12:00'", "2024-05-01T12:00:00"),
    ("inet", "'10.0.0.1'", "10.0.0.1"),
    ("cidr", "'10.0.0.0/8'", "10.0.0.0/8"),
    ("macaddr", "'08:00:2b:01:02:03'", "08:00:2b:01:02:03"),
    ("kind", "'big'", "big"),
    ("small", "7", "7"),
    ("time", "'10:30'", "10:30:00"),
    ("timetz", "'24:00+02'", "24:00:00+02"),
    ("money", "'12.50'", "$12.50"),
    ("bit varying", "B'101'", "101"),
    ("text", "'http://www.wikidata.org/entity/Q38'", "wd:Q38"),
    ("text", "'https://www.wikidata.org/wiki/Q38'", "wd:Q38"),
]


@pytest.mark.postgres
@pytest.mark.parametrize("mode", ["diff", "keyset"])
@pytest.mark.parametrize(("type_", "value", "text"), KEYS)
def test_every_type_of_key_is_polled_asked_for_and_probed(
    postgres: Database, mode: str, type_: str, value: str, text: str
) -> None:
    postgres.run(
        "CREATE TYPE kind AS ENUM ('big', 'little')",
        "CREATE DOMAIN small AS integer CHECK (VALUE < 100)",
        f"CREATE TABLE t (id {type_} PRIMARY KEY, object {type_}, changed timestamptz DEFAULT now())",
        f"INSERT INTO t VALUES ({value}, {value})",
    )
    settings = {"columns": {"subject": "id"}, **(KEYSET if mode == "keyset" else {})}
    source, sink = postgres.open(**settings), Sink()
    sink.drain(source)
    id = text if text.startswith("wd:") else f"crm:{text}"
    object_ = text if text.startswith("wd:") else f"lit:{text}"
    assert sink.values("crm:owner") == {id: (object_,)}
    (poll,) = postgres.open(**settings).snapshot([(id, "crm:owner"), ("crm:none", "crm:owner")])
    assert {o.subject.id: [s.object and s.object.id for s in o.statements] for o in poll.observations} == {
        id: [object_],
        "crm:none": [],
    }
    if object_.startswith("lit:"):
        assert [t.subject.id for t in source.neighbours("crm:owner", object_, 3)] == [id]
        assert [t.object.id for t in source.facts_of(id, 3)] == [object_]


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("type_", "value", "ended"),
    [
        ("timestamptz", "'infinity'", None),
        ("timestamp", "'infinity'", None),
        ("date", "'infinity'", None),
        ("timestamptz", "'20000-01-01'", None),
        ("date", "'9999-12-31'", None),
        ("text", "'infinity'", None),
        ("timestamptz", "'-infinity'", "0001-01-01"),
        ("timestamp", "'0044-03-15 BC'", "0001-01-01"),
        ("date", "'2024-05-01'", "2024-05-01"),
    ],
)
def test_dates_without_an_end_are_no_end(
    postgres: Database, type_: str, value: str, ended: str | None
) -> None:
    postgres.run(
        f"CREATE TABLE t (subject text, object text, valid_to {type_})",
        f"INSERT INTO t VALUES ('a', 'Ann', {value}), ('b', 'Bob', NULL)",
    )
    (poll,) = postgres.open(columns={"end": "valid_to"}).poll(None)
    ends = {o.subject.id: o.statements[0].end for o in poll.observations}
    assert ends["crm:b"] is None
    assert (ends["crm:a"] and str(ends["crm:a"])[:10]) == ended


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("boolean", "true"),
        ("interval", "'1000000 years'"),
        ("numeric", "'NaN'"),
        ("double precision", "'infinity'"),
        ("jsonb", f"'{'[' * 6_000}{']' * 6_000}'"),
        ("json", "'{\"a\": 1}'"),
        ("text[]", "'{a,b}'"),
        ("int4range", "'[1,5)'"),
        ("bytea", r"'\xff00'"),
        ("text", "repeat('x', 100000)"),
    ],
)
def test_a_value_without_a_text_costs_its_row(postgres: Database, type_: str, value: str) -> None:
    postgres.run(
        f"CREATE TABLE t (id integer, subject text, object {type_}, changed timestamptz DEFAULT now())",
        f"INSERT INTO t VALUES (1, 'bad', {value}), (2, 'good', NULL)",
    )
    for settings in ({}, KEYSET):
        (poll,) = postgres.open(**settings).poll(None)
        assert {o.subject.id for o in poll.observations} <= {"crm:good", "crm:bad"}
        assert "crm:good" in {o.subject.id for o in poll.observations}


@pytest.mark.postgres
def test_a_type_whose_text_is_a_notation_rejects_its_row_by_name(postgres: Database) -> None:
    values = {
        "interval": "'1 day'",
        "int4range": "'[1,5)'",
        "nummultirange": "'{[1,5)}'",
        "of_names": "'[a,b)'",
        "pair": "'(1,a)'",
        "kind[]": "'{big}'",
        "pair[]": """'{"(1,a)"}'""",
        "integer[]": "'{1}'",
        "point": "'(1,2)'",
        "polygon": "'((0,0),(1,1))'",
        "tsvector": "'a b'",
        "jsonb": "'[1]'",
        "hstore": "'(1)'",
    }
    postgres.run(
        "CREATE TYPE kind AS ENUM ('big')",
        "CREATE TYPE pair AS (a integer, b text)",
        "CREATE TYPE of_names AS RANGE (subtype = text)",
        "CREATE TYPE hstore AS (a integer)",  # the extension is not among those of a server for tests
        "CREATE DOMAIN span AS interval",
    )
    for number, (type_, value) in enumerate({**values, "span": "'1 day'"}.items()):
        postgres.run(
            f"CREATE TABLE t{number} (subject text, object {type_})",
            f"INSERT INTO t{number} VALUES ('bad', {value}), ('good', NULL)",
        )
        (poll,) = postgres.open(table=f"t{number}").poll(None)
        assert [o.subject.id for o in poll.observations] == ["crm:good"], type_
        assert poll.rejected == 1
        assert "object is a value" in poll.reject
        named = {"integer[]": "list", "jsonb": "list", "int4range": "Range", "nummultirange": "Multirange"}
        assert named.get(type_, "interval" if type_ == "span" else type_) in poll.reject


@pytest.mark.postgres
def test_other_names_may_be_an_array_or_json(postgres: Database) -> None:
    postgres.run(
        "CREATE TABLE t (subject text, object text, subject_aliases text[], object_aliases jsonb)",
        """INSERT INTO t VALUES ('a', 'crm:x', '{Acme,"ACME Inc."}', '["Max"]')""",
    )
    (poll,) = postgres.open().poll(None)
    (observation,) = poll.observations
    assert observation.subject.aliases == ("ACME Inc.", "Acme")
    assert observation.statements[0].object is not None
    assert observation.statements[0].object.aliases == ("Max",)


def test_keys_that_sqlite_keeps_as_it_likes_are_asked_for(sqlite: Database) -> None:
    sqlite.run(
        "CREATE TABLE t (subject, object)",
        "INSERT INTO t VALUES (1, 'a'), ('2', 'b'), (3.0, 'c'), (CAST('4' AS BLOB), 'd'), (' 5 ', 'e')",
    )
    asked = [(f"crm:{n}", "crm:owner") for n in range(1, 6)]
    (poll,) = sqlite.open().snapshot(asked)
    found = {o.subject.id: [s.object and s.object.id for s in o.statements] for o in poll.observations}
    assert found == {f"crm:{n}": [f"lit:{name}"] for n, name in enumerate("abcde", 1)}


def test_text_that_is_not_utf8_costs_its_row(sqlite: Database) -> None:
    sqlite.run(
        "CREATE TABLE t (subject TEXT, object TEXT)",
        "INSERT INTO t VALUES ('a', CAST(X'FF' AS TEXT)), ('b', 'Bob'), (CAST(X'6100' AS TEXT), 'x')",
    )
    sink = Sink()
    sink.drain(sqlite.open())
    assert sink.values("crm:owner") == {"crm:b": ("lit:Bob",)}


@pytest.mark.parametrize("key", ["NULL", "7"])
@pytest.mark.parametrize("changed", ["NULL", "'9999-12-31 00:00:00'", "''", "'2026-06-01 10:00:00'"])
def test_rows_that_cannot_be_followed_are_delivered_and_hide_no_others(
    sqlite: Database, key: str, changed: str
) -> None:
    sqlite.run(
        "CREATE TABLE t (id INTEGER, subject TEXT, object TEXT, changed TEXT)",
        f"INSERT INTO t VALUES ({key}, 'odd', 'Ann', {changed}), (1, 'a', 'Ann', '2026-05-01 10:00:00')",
    )
    sink, source = Sink(), sqlite.open(**KEYSET)
    sink.drain(source)
    assert sink.values("crm:owner") == {"crm:odd": ("lit:Ann",), "crm:a": ("lit:Ann",)}
    assert sink.drain(source) == 0
    sqlite.run("INSERT INTO t VALUES (2, 'b', 'Bob', '2026-06-01 11:00:00')")
    sink.drain(source)
    assert sink.values("crm:owner")["crm:b"] == ("lit:Bob",)
    sqlite.run("UPDATE t SET object = 'Cy', changed = '2026-06-01 11:30:00' WHERE subject = 'odd'")
    sink.drain(source)
    assert sink.values("crm:owner")["crm:odd"] == ("lit:Cy",)


def test_a_time_that_is_none_costs_its_row(sqlite: Database) -> None:
    sqlite.run(
        "CREATE TABLE t (id INTEGER, subject TEXT, object TEXT, changed TEXT)",
        "INSERT INTO t VALUES (1, 'odd', 'Ann', 'soon'), (2, 'a', 'Ann', '2026-05-01 10:00:00')",
        "INSERT INTO t VALUES (3, 'old', 'Ann', '2026-04-01 ??:00:00')",
        "INSERT INTO t VALUES (4, 'late', 'Ann', '2026-05-01 ??:00:00')",
    )
    sink, source = Sink(), sqlite.open(**KEYSET, rows_per_request=1)
    sink.drain(source)
    assert sink.values("crm:owner") == {"crm:a": ("lit:Ann",)}
    assert sink.drain(source) == 0


def test_a_first_pass_that_can_use_no_row_consumes_nothing_and_says_why(sqlite: Database) -> None:
    sqlite.run(
        "CREATE TABLE t (id INTEGER, subject TEXT, object TEXT, changed TEXT)",
        *(f"INSERT INTO t VALUES ({n}, 's{n}', 'Ann', '2026-05-01 10:00:00')" for n in range(3)),
    )
    sink = Sink()
    for _ in range(2):
        with pytest.raises(SourceDataError, match="row 1: 's0' has no prefix; set `namespace`"):
            sink.drain(sqlite.open(**KEYSET, namespace="", rows_per_request=1))
    assert sink.cursor is None
    sink.drain(sqlite.open(**KEYSET))
    assert len(sink.values("crm:owner")) == 3


def test_a_cell_that_is_no_time_does_not_stand_for_its_column(sqlite: Database) -> None:
    changed = (NOW - timedelta(days=1)).isoformat()
    sqlite.run(
        "CREATE TABLE t (id, subject, object, changed)",
        "INSERT INTO t VALUES (1, 'a', 'Ann', 5), (2, 'b', 'Bob', 1.5), (3, 'c', 'Cy', x'00')",
        f"INSERT INTO t VALUES (4, 'd', 'Di', 'soon'), (5, 'e', 'Ed', '{changed}')",
    )
    polls = list(sqlite.open(**KEYSET).poll(None))
    assert [o.subject.id for poll in polls for o in poll.observations] == ["crm:e"]
    assert sum(poll.rejected for poll in polls) == 4


def test_a_row_whose_subject_cannot_be_read_is_counted_in_every_mode(sqlite: Database) -> None:
    changed = (NOW - timedelta(days=1)).isoformat()
    sqlite.run(
        "CREATE TABLE t (id, subject, object, changed)",
        f"INSERT INTO t VALUES (1, x'00', 'Ann', '{changed}'), (2, NULL, 'Bob', '{changed}')",
        f"INSERT INTO t VALUES (3, 'c', 'Cy', '{changed}')",
    )
    for settings in ({}, KEYSET):
        (poll,) = sqlite.open(**settings).poll(None)
        assert [o.subject.id for o in poll.observations] == ["crm:c"]
        assert poll.rejected == 2


def test_a_table_without_any_time_is_read_all_the_same(sqlite: Database) -> None:
    sqlite.run(
        "CREATE TABLE t (id INTEGER, subject TEXT, object TEXT, changed TEXT)",
        "INSERT INTO t VALUES (1, 'a', 'Ann', NULL), (2, 'b', 'Bob', NULL)",
    )
    sink, source = Sink(), sqlite.open(**KEYSET, rows_per_request=1)
    assert sink.drain(source) == 2
    sqlite.run("UPDATE t SET object = 'Cy' WHERE id = 2")
    assert sink.drain(source) == 1
    assert sink.values("crm:owner") == {"crm:a": ("lit:Ann",), "crm:b": ("lit:Cy",)}


def test_too_many_rows_that_cannot_be_followed_are_an_error_after_the_others(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_keyset, "_NOT_FOLLOWED", 2)
    sqlite.run(
        "CREATE TABLE t (id INTEGER, subject TEXT, object TEXT, changed TEXT)",
        "INSERT INTO t VALUES (1, 'a', 'Ann', NULL), (2, 'b', 'Bob', NULL), (3, 'c', 'Cy', NULL)",
        "INSERT INTO t VALUES (4, 'd', 'Di', '2026-05-01 10:00:00')",
    )
    sink = Sink()
    with pytest.raises(SourceDataError, match="more than 2 rows have no id, or no changed that is plausible"):
        sink.drain(sqlite.open(**KEYSET))
    assert len(sink.values("crm:owner")) == 3
    assert "crm:d" in sink.values("crm:owner")


def test_a_bad_row_alone_in_its_page_does_not_hold_up_the_next(sqlite: Database) -> None:
    sqlite.run(
        "CREATE TABLE t (id INTEGER, subject TEXT, object, changed TEXT)",
        "INSERT INTO t VALUES (1, 'a', 'Ann', '2026-05-01 10:00:00')",
    )
    sink, source = Sink(), sqlite.open(**KEYSET, rows_per_request=1)
    sink.drain(source)
    sqlite.run(
        "INSERT INTO t VALUES (2, 'bad', X'FF', '2026-05-01 11:00:00')",
        "INSERT INTO t VALUES (3, 'c', 'Cy', '2026-05-01 12:00:00')",
    )
    sink.drain(source)
    assert sink.values("crm:owner") == {"crm:a": ("lit:Ann",), "crm:c": ("lit:Cy",)}


def test_rows_are_read_again_once_the_settings_are_corrected(sqlite: Database) -> None:
    sqlite.run(
        "CREATE TABLE t (id INTEGER, subject TEXT, object TEXT, changed TEXT)",
        "INSERT INTO t VALUES (1, 'a', 'Ann', '2026-05-01 10:00:00')",
    )
    sink = Sink()
    sink.drain(sqlite.open(**KEYSET, namespace="wrong"))
    sink.drain(sqlite.open(**KEYSET))
    assert sink.values("crm:owner") == {"wrong:a": ("lit:Ann",), "crm:a": ("lit:Ann",)}
    assert sink.drain(sqlite.open(**KEYSET)) == 0


def test_a_cursor_of_an_older_version_is_followed(sqlite: Database) -> None:
    sqlite.run(
        "CREATE TABLE t (id INTEGER, subject TEXT, object TEXT, changed TEXT)",
        "INSERT INTO t VALUES (1, 'a', 'Ann', '2026-05-01 10:00:00')",
        "INSERT INTO t VALUES (2, 'b', 'Bob', '2026-05-02 10:00:00')",
    )
    old = {"format": 1, "high": "2026-05-02 08:00:00", "seen": {}, "revision": 5}
    (poll,) = sqlite.open(**KEYSET).poll(json.dumps(old))
    assert [o.subject.id for o in poll.observations] == ["crm:b"]


def test_columns_without_a_meaning_are_not_read(sqlite: Database) -> None:
    sqlite.run(
        "CREATE TABLE t (subject TEXT, object TEXT, rest TEXT)", "INSERT INTO t VALUES ('a', 'x', 'y')"
    )
    asked: list[str] = []
    source = sqlite.open()
    engine = source._table._engine  # type: ignore[attr-defined]
    sa.event.listen(engine, "before_cursor_execute", lambda *arguments: asked.append(arguments[2]))
    list(source.poll(None))
    assert [statement for statement in asked if "rest" in statement] == []


@pytest.mark.postgres
@pytest.mark.parametrize(
    "query", ["SELECT subject, subject, object FROM t", "SELECT 1 AS object, t.* FROM t"]
)
def test_two_columns_of_one_name_are_refused(postgres: Database, query: str) -> None:
    postgres.run("CREATE TABLE t (subject TEXT, object TEXT)")
    with pytest.raises(SourceDataError, match="two columns are named"):
        list(postgres.open(table=None, query=query).poll(None))


STORABLE = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.binary(max_size=20)
)
"""What a cell of SQLite can hold, lone surrogates and NaN among it."""


@editions(quick=50)
@pytest.mark.parametrize("settings", [{}, KEYSET], ids=["diff", "keyset"])
def test_whatever_rows_hold_only_they_are_rejected_and_good_rows_arrive(
    sqlite: Database, settings: dict[str, Any], examples: int
) -> None:
    columns = ["id", "subject", "object", "changed", "subject_label", "start", "end", "references", "rank"]
    sqlite.run(f"CREATE TABLE t ({', '.join(f'`{name}`' for name in columns)})")
    insert = f"INSERT INTO t VALUES ({', '.join('?' * len(columns))})"
    good = (0, "crm:good", "Ann", (NOW - timedelta(days=1)).isoformat(), None, None, None, None, None)
    source = sqlite.open(**settings)

    @drawing(examples)
    @given(st.lists(st.tuples(*[STORABLE] * len(columns)), max_size=4))
    def holds(rows: list[tuple[Any, ...]]) -> None:
        sqlite.run("DELETE FROM t")
        with sqlite.engine.begin() as connection:
            for row in [good, *rows]:
                with suppress(UnicodeEncodeError):  # a driver's own border: no lone surrogate gets in
                    connection.exec_driver_sql(insert, tuple(row))
        sink = Sink()
        sink.drain(source)
        assert sink.values("crm:owner")["crm:good"] == ("lit:Ann",)
        for step in source.snapshot([("crm:good", "crm:owner")]):
            assert len(step.observations) == 1

    holds()
