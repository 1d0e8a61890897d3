"""Ledgers on SQLite and PostgreSQL, migrated once and copied."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from state import State

NewUrl = Callable[[str], str]
"""Makes the URL of a fresh, migrated ledger of a kind: `sqlite` or `postgres`."""


def migrate(url: str) -> None:
    state = State.open(url)
    state.migrate()
    state.close()


def copied_database(server: str, name: str, of: str = "empty") -> str:
    """URL of a new database with what `of` holds, which nobody may be connected to."""
    administer(server, f"CREATE DATABASE {name} TEMPLATE {of}")
    return database_url(server, name)


def database_url(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def administer(server: str, *statements: str) -> None:
    url = make_url(server).set(drivername="postgresql+psycopg")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()
