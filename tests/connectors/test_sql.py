"""Tables and views, on SQLite and on PostgreSQL."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from connectors.errors import SourceDataError, SourceRefused, SourceSettingsError, SourceUnavailable
from connectors.observations import Connector
from connectors.registry import connect
from tests.support.sink import Sink

T0 = datetime(2024, 1, 1, tzinfo=UTC)


class Database:
    """A table `accounts`, and a view on it that a connector could be pointed at."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = sa.create_engine(url)
        time = "TIMESTAMPTZ" if "postgresql" in url else "TEXT"
        self.run(
            "DROP TABLE IF EXISTS accounts",
            f"CREATE TABLE accounts (id INTEGER PRIMARY KEY, account INTEGER, owner TEXT, changed {time})",
        )

    def run(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))

    def put(self, id: int, owner: str | None, at: datetime = T0, account: int | None = None) -> None:
        self.run(
            f"DELETE FROM accounts WHERE id = {id}",
            f"INSERT INTO accounts VALUES ({id}, {account or id}, "
            f"{repr(owner) if owner else 'NULL'}, '{at.isoformat()}')",
        )


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        found = Database(f"sqlite:///{tmp_path}/crm.db")
    else:
        found = Database(request.getfixturevalue("postgres_url"))
    yield found
    found.engine.dispose()


Open = Callable[..., Connector]


@pytest.fixture
def open_sql(database: Database) -> Iterator[Open]:
    opened: list[Connector] = []

    def open_(**settings: Any) -> Connector:
        own = {
            "kind": "sql",
            "url": database.url,
            "table": "accounts",
            "namespace": "crm",
            "relation": "crm:owner",
            "columns": {"subject": "account", "object": "owner"},
        }
        opened.append(connect("crm", {**own, **settings}))
        return opened[-1]

    yield open_
    for connector in opened:
        connector.close()


KEYSET = {"mode": "keyset", "updated_at": "changed", "key": "id"}


def test_a_table_becomes_observations(database: Database, open_sql: Open) -> None:
    database.put(1, "Ann")
    database.put(2, "Bob")
    database.put(3, "Ann", account=2)
    (poll,) = open_sql().poll(None)
    told = {o.subject.id: [s.object and s.object.label for s in o.statements] for o in poll.observations}
    assert told["crm:1"] == ["Ann"]
    assert sorted(str(label) for label in told["crm:2"]) == ["Ann", "Bob"]
    assert poll.observations[0].subject.label == "1"


def test_a_query_can_stand_for_the_table(database: Database, open_sql: Open) -> None:
    database.put(7, "Ann")
    query = (
        "SELECT account AS subject, 'Account ' || account AS subject_label, owner AS object FROM accounts;"
    )
    (poll,) = open_sql(table=None, query=query, columns={}).poll(None)
    assert poll.observations[0].subject.label == "Account 7"


def test_diff_mode_tells_changes_and_removals(database: Database, open_sql: Open) -> None:
    for n in range(1, 11):
        database.put(n, "Ann")
    sink, connector = Sink(), open_sql()
    sink.drain(connector)
    assert sink.drain(connector) == 0
    database.put(4, "Bob")
    database.run("DELETE FROM accounts WHERE id = 10")
    (poll,) = connector.poll(sink.cursor)
    assert [(o.subject.id, len(o.statements)) for o in poll.observations] == [("crm:4", 1), ("crm:10", 0)]


def test_keyset_mode_reads_what_changed_across_equal_instants(database: Database, open_sql: Open) -> None:
    for n in range(1, 8):
        database.put(n, "Ann")
    sink, connector = Sink(), open_sql(**KEYSET, rows_per_request=2)
    assert sink.drain(connector) == 4
    assert sink.drain(connector) == 0
    database.put(3, "Bob")  # the very same instant
    database.put(8, "Cy", T0 + timedelta(hours=1))
    told = [o.subject.id for poll in connector.poll(sink.cursor) for o in poll.observations]
    assert told == ["crm:3", "crm:8"]


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_keyset_mode_goes_on_after_any_step(database: Database, open_sql: Open, cut: int) -> None:
    for n in range(1, 8):
        database.put(n, "Ann")
    sink = Sink()
    sink.drain(open_sql(**KEYSET, rows_per_request=2), at_most=cut)
    database.put(1, "Bob")
    sink.drain(open_sql(**KEYSET, rows_per_request=2))
    assert sink.values("crm:owner") == {
        f"crm:{n}": ("lit:Bob" if n == 1 else "lit:Ann",) for n in range(1, 8)
    }


def test_keyset_mode_finds_a_transaction_that_committed_late(database: Database, open_sql: Open) -> None:
    database.put(1, "Ann", T0)
    database.put(2, "Ann", T0 + timedelta(minutes=10))
    sink, connector = Sink(), open_sql(**KEYSET)
    sink.drain(connector)
    database.put(3, "Ann", T0 + timedelta(minutes=6))  # stamped before what was seen, visible only now
    sink.drain(connector)
    assert "crm:3" in sink.values("crm:owner")


@pytest.mark.parametrize("hours", [-5, 0, 9])
def test_keyset_mode_follows_times_of_any_zone(database: Database, open_sql: Open, hours: int) -> None:
    here = T0.astimezone(timezone(timedelta(hours=hours)))
    database.put(1, "Ann", here)
    sink, connector = Sink(), open_sql(**KEYSET)
    sink.drain(connector)
    for minutes in range(1, 4):
        database.put(1 + minutes, "Bob", here + timedelta(minutes=minutes))
        sink.drain(connector)
    assert len(sink.values("crm:owner")) == 4
    assert {o.modified for o in sink.slots.values()} == {T0 + timedelta(minutes=n) for n in range(4)}


def test_keyset_mode_needs_times(database: Database, open_sql: Open) -> None:
    database.put(1, "Ann")
    with pytest.raises(SourceDataError, match="updated_at holds 1; keyset mode needs timestamps"):
        list(open_sql(mode="keyset", updated_at="account", key="id").poll(None))


def test_keyset_mode_tells_whole_slots(database: Database, open_sql: Open) -> None:
    database.put(1, "Ann", T0, account=5)
    sink, connector = Sink(), open_sql(**KEYSET)
    sink.drain(connector)
    database.put(2, "Bob", T0 + timedelta(days=1), account=5)
    sink.drain(connector)
    assert sink.values("crm:owner") == {"crm:5": ("lit:Ann", "lit:Bob")}
    (observation,) = sink.slots.values()
    assert observation.modified == T0 + timedelta(days=1)


def test_a_row_without_an_object_empties_the_slot(database: Database, open_sql: Open) -> None:
    database.put(1, "Ann")
    sink, connector = Sink(), open_sql(**KEYSET)
    sink.drain(connector)
    database.put(1, None, T0 + timedelta(hours=1))
    sink.drain(connector)
    assert sink.values("crm:owner") == {}


def test_a_snapshot_finds_what_keyset_mode_cannot_see(database: Database, open_sql: Open) -> None:
    database.put(1, "Ann")
    connector = open_sql(**KEYSET)
    (poll,) = connector.snapshot([("crm:1", "crm:owner"), ("crm:2", "crm:owner")])
    assert [(o.subject.id, len(o.statements)) for o in poll.observations] == [("crm:1", 1), ("crm:2", 0)]


def test_a_snapshot_neither_empties_what_it_cannot_read_nor_believes_a_lost_table(
    database: Database, open_sql: Open
) -> None:
    for n in range(1, 9):
        database.put(n, "Ann")
    asked = [(f"crm:{n}", "crm:owner") for n in range(1, 9)]
    columns = {"subject": "account", "object": "owner", "rank": "note"}
    query = "SELECT account, owner, CASE WHEN id = 3 THEN 'best' ELSE 'normal' END AS note FROM accounts"
    (poll,) = open_sql(table=None, query=query, columns=columns).snapshot(asked)
    assert [o.subject.id for o in poll.observations] == [f"crm:{n}" for n in (1, 2, 4, 5, 6, 7, 8)]
    database.run("DELETE FROM accounts")
    with pytest.raises(SourceDataError, match="none of the 8 requested slots holds anything"):
        list(open_sql(**KEYSET).snapshot(asked))
    (poll,) = open_sql(**KEYSET, max_vanished=1.0).snapshot(asked)
    assert len(poll.observations) == 8


def test_neighbours_and_facts(database: Database, open_sql: Open) -> None:
    for n, owner in enumerate(("Ann", "Ann", "Bob"), 1):
        database.put(n, owner)
    connector = open_sql()
    assert [t.subject.id for t in connector.neighbours("crm:owner", "lit:Ann", 5)] == ["crm:1", "crm:2"]
    assert [t.object.label for t in connector.facts_of("crm:3", 5)] == ["Bob"]
    assert connector.check().ok


def test_mistakes_are_named(database: Database, open_sql: Open, tmp_path: Path) -> None:
    database.put(1, "Ann")
    with pytest.raises(SourceRefused, match="nosuch"):
        list(open_sql(table="nosuch").poll(None))
    with pytest.raises(SourceDataError, match="has no column ownr; it has id, account, owner"):
        list(open_sql(columns={"subject": "account", "object": "ownr"}).poll(None))
    with pytest.raises(SourceSettingsError, match="needs `updated_at` and `key`"):
        open_sql(mode="keyset")
    with pytest.raises(SourceSettingsError, match=r"sources\.crm\.columns: owner: no such field"):
        open_sql(columns={"owner": "object"})
    with pytest.raises(SourceUnavailable, match="there is no database file"):
        list(open_sql(url=f"sqlite:///{tmp_path}/none.db").poll(None))
    with pytest.raises(SourceSettingsError, match=r"sources\.crm\.url"):
        open_sql(url="nonsense")


@pytest.mark.parametrize(
    "url",
    ["postgresql+psycopg://u:hunter2@127.0.0.1:1/x", "postgresql+psycopg://127.0.0.1:1/x?password=hunter2"],
)
def test_a_password_in_the_address_is_shown_nowhere(url: str) -> None:
    source = connect("crm", {"kind": "sql", "url": url, "table": "t"})
    health = source.check()
    assert not health.ok
    assert "hunter2" not in f"{health} {source!r} {vars(source)}"
    with pytest.raises(SourceUnavailable) as raised:
        list(source.poll(None))
    assert "hunter2" not in "".join(traceback.format_exception(raised.value.__class__, raised.value, None))
    with pytest.raises(SourceSettingsError) as wrong:
        connect(
            "crm", {"kind": "sql", "url": url.replace("postgresql", "postgre sql"), "table": "t", "mod": 1}
        )
    assert "hunter2" not in str(wrong.value)
    source.close()
