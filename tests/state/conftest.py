"""Ledgers to test on: every test that asks for `state` runs on SQLite and on PostgreSQL.

A migrated ledger is made once of each kind and copied: a file on SQLite, a template database on
PostgreSQL, whose server (a real one, in a directory of its own) starts when the first test needs it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from state import State
from tests.state.making import Clock

BACKENDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
NewUrl = Callable[[str], str]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def url(request: pytest.FixtureRequest, new_url: NewUrl) -> str:
    """A fresh, migrated ledger; SQLite unless the test asks for both kinds."""
    return new_url(getattr(request, "param", "sqlite"))


@pytest.fixture
def state(url: str, clock: Clock) -> Iterator[State]:
    opened = State.open(url, clock)
    yield opened
    opened.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests of this directory that use `state` run once for each kind of database."""
    if "state" in metafunc.fixturenames:
        metafunc.parametrize("url", BACKENDS, indirect=True)


@pytest.fixture(scope="session")
def new_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> NewUrl:
    directory = tmp_path_factory.mktemp("ledgers")
    made: list[str] = []

    def new(kind: str) -> str:
        made.append(kind)
        name = f"ledger_{len(made)}"
        if kind == "postgres":
            return copied_database(request.getfixturevalue("postgres_server"), name)
        shutil.copy(request.getfixturevalue("empty_file"), directory / f"{name}.db")
        return f"sqlite:///{directory / name}.db"

    return new


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "empty.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a running server that has a migrated database named `empty`."""
    import pgserver

    # A short path of its own: a socket's name may have 107 characters.
    server = pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="stop")
    try:
        url = server.get_uri()
        # Durability is the operating system's part and is tested on SQLite; this only saves waiting.
        _administer(url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()", "CREATE DATABASE empty")
        _migrate(_database(url, "empty"))
        yield url
    finally:
        server.cleanup()


def _migrate(url: str) -> None:
    state = State.open(url)
    state.migrate()
    state.close()


def copied_database(server: str, name: str, of: str = "empty") -> str:
    """URL of a new database with what `of` holds, which nobody may be connected to."""
    _administer(server, f"CREATE DATABASE {name} TEMPLATE {of}")
    return _database(server, name)


def _database(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def _administer(server: str, *statements: str) -> None:
    url = make_url(server).set(drivername="postgresql+psycopg")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()
