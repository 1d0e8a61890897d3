"""Whatever state a database is in, the ledger says so in one of its own errors, and what to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from state import Snapshot, State, StateError, Transaction
from state.errors import Busy, Inconsistent, NotMigrated, Unreachable, Unstorable
from state.records import BaseAnswer, StoredEntity
from tests.support.databases import NewUrl, administer
from tests.support.ledgers import fact, said

pytestmark = pytest.mark.postgres
PATIENCE_S = 30.0

Opened = Callable[..., State]


@pytest.fixture
def opened(new_url: NewUrl) -> Iterator[Opened]:
    """Opens a fresh PostgreSQL ledger whose sessions have these settings, or another role."""
    made: list[State] = []

    def open_one(url: str = "", *, role: str = "", **settings: object) -> State:
        parsed = make_url(url or new_url("postgres"))
        if settings:
            options = " ".join(f"-c {name}={value}" for name, value in settings.items())
            parsed = parsed.update_query_dict({"options": options})
        if role:
            parsed = parsed.set(username=role)
        made.append(State.open(parsed.render_as_string(hide_password=False), busy=2.0))
        return made[-1]

    yield open_one
    for state in made:
        state.close()


def sessions(state: State, server: str) -> list[int]:
    """The server's processes that serve this ledger's connections."""
    engine = create_engine(make_url(server).set(drivername="postgresql+psycopg"))
    try:
        with engine.connect() as connection:
            found = connection.execute(
                text("SELECT pid FROM pg_stat_activity WHERE datname = :name"), {"name": state.url.database}
            )
            return [row.pid for row in found]
    finally:
        engine.dispose()


def idle_until_ended(tx: Snapshot, state: State, server: str) -> None:
    tx.head()
    deadline = time.monotonic() + PATIENCE_S
    while sessions(state, server):
        assert time.monotonic() < deadline
    tx.head()


def end_sessions(tx: Transaction, state: State, server: str) -> None:
    tx.emit("note", "test", {})
    administer(server, *(f"SELECT pg_terminate_backend({pid})" for pid in sessions(state, server)))
    tx.emit("note", "test", {})


def test_a_transaction_that_was_idle_for_too_long_is_to_be_tried_again(
    opened: Opened, postgres_server: str
) -> None:
    state = opened(idle_in_transaction_session_timeout="50ms")
    with (
        pytest.raises(Busy, match=r"idle for longer.*ALTER ROLE <role> SET idle_in_transaction"),
        state.read() as tx,
    ):
        idle_until_ended(tx, state, postgres_server)
    patient = opened(state.url.render_as_string(hide_password=False), idle_in_transaction_session_timeout="0")
    with patient.write() as tx:
        tx.emit("note", "test", {})
    assert patient.audit.verify().count == 1


def test_watched_slots_are_listed_without_a_transaction_between_the_pages(
    opened: Opened, postgres_server: str
) -> None:
    state = opened()
    with state.write() as tx:
        tx.record([said(f"wd:Q{number}") for number in range(5)])
    idle = text("SELECT count(*) FROM pg_stat_activity WHERE datname = :name AND state LIKE 'idle in%'")
    engine = create_engine(make_url(postgres_server).set(drivername="postgresql+psycopg"))
    for page in state.watched("wikidata", page=2):
        with engine.connect() as connection:
            assert connection.execute(idle, {"name": state.url.database}).scalar() == 0, page
    engine.dispose()


def test_a_read_only_server_is_named(opened: Opened) -> None:
    state = opened(default_transaction_read_only="on")
    for write in (lambda: state.acquire_lease("leader", "me", 1), lambda: state.downgrade("base")):
        with pytest.raises(Unreachable, match=r"read-only standby.*connect to the primary"):
            write()
    with state.read() as tx:
        assert tx.head() is None


def test_a_role_without_privileges_is_named_the_missing_one(opened: Opened, postgres_server: str) -> None:
    with suppress(Exception):
        administer(postgres_server, "CREATE ROLE guest LOGIN")
    state = opened(role="guest")
    with pytest.raises(Unreachable, match=r"(?s)permission denied.*GRANT"):
        state.check_migrated()
    with pytest.raises(Unreachable, match="GRANT"), state.write() as tx:
        tx.emit("note", "test", {})


def test_a_database_that_cannot_hold_every_label_is_refused_at_once(
    opened: Opened, postgres_server: str
) -> None:
    name = "ascii_only"
    administer(
        postgres_server,
        f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    )
    state = opened(make_url(postgres_server).set(database=name).render_as_string(hide_password=False))
    for use in (state.check_migrated, state.migrate, state.audit.verify):
        with pytest.raises(Unreachable, match=r"encoding SQL_ASCII.*ENCODING 'UTF8'"):
            use()


def test_a_server_that_ends_our_sessions_is_tried_again(opened: Opened, postgres_server: str) -> None:
    state = opened()
    with pytest.raises(Unreachable, match=r"check the server|tried again"), state.write() as tx:
        end_sessions(tx, state, postgres_server)
    with state.write() as tx:
        tx.emit("note", "test", {})
    assert state.audit.verify().count == 1


@pytest.mark.parametrize(
    ("statement", "kind", "advice"),
    [
        ("DROP TABLE cursors", NotMigrated, "restore a backup"),
        ("DROP SCHEMA public CASCADE", NotMigrated, "restore a backup|create it"),
    ],
)
def test_tables_that_are_gone_are_named(
    opened: Opened, statement: str, kind: type[StateError], advice: str
) -> None:
    state = opened()
    with state.write() as tx:
        tx.connection.execute(text(statement))
    with pytest.raises(kind, match=advice), state.read() as tx:
        tx.cursor("wikidata")


def test_a_statement_that_takes_too_long_is_to_be_tried_again(opened: Opened) -> None:
    state = opened(statement_timeout="20ms")
    with pytest.raises(Busy, match="statement_timeout"), state.read() as tx:
        tx.connection.execute(text("SELECT pg_sleep(10)"))


def test_rows_that_contradict_each_other_are_an_error_of_the_ledger(state: State) -> None:
    with pytest.raises(Inconsistent, match="audit verify --tables"), state.write() as tx:
        tx.put_base_answers("b" * 64, {4711: BaseAnswer(True, "a fact of another ledger")})
    with state.read() as tx:
        assert tx.head() is None


@pytest.mark.parametrize("label", ["Ann\0a", "Ann\ud800a"])
def test_a_text_that_no_database_can_hold_gets_the_same_verdict_everywhere(state: State, label: str) -> None:
    for write in (
        lambda tx: tx.put_entities([StoredEntity("wd:Q1", label)]),
        lambda tx: tx.put_facts([fact(object=label)], "test"),
        lambda tx: tx.set_cursor("wikidata", label),
        lambda tx: tx.record([said(label)]),
    ):
        with pytest.raises(Unstorable), state.write() as tx:
            write(tx)
    with state.read() as tx:
        assert tx.head() is None
        assert tx.facts() == ()


def test_a_question_mark_in_an_sqlite_url_is_refused_unless_it_is_escaped(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="write %3F"):
        State.open(f"sqlite:///{tmp_path}/what?.db")
    state = State.open(f"sqlite:///{tmp_path}/what%3F.db")
    state.migrate()
    state.close()
    assert [path.name for path in tmp_path.glob("what*")] == ["what?.db"]


def test_a_password_in_a_url_that_is_none_is_not_shown() -> None:
    with pytest.raises(Unreachable) as refused:
        State.open("postgres//ada:secret@host/name")
    assert "secret" not in str(refused.value)
    with pytest.raises(Unreachable) as refused:
        State.open(f"mysql://ada:{quote('sec:ret')}@host/name")
    assert "ret@" not in str(refused.value)
