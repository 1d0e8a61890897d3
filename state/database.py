"""Database engines: one that writes, one that reads, on SQLite or PostgreSQL.

Writers take turns on both: on SQLite by BEGIN IMMEDIATE (the driver's default mode lets two
read-then-write transactions both commit, which loses an update), on PostgreSQL by an advisory lock
that lasts as long as the transaction.  A writer therefore sees everything committed before it and
may read, decide and write without a race; the audit chain needs no lock of its own.

Readers have an engine of their own: deferred and `query_only`, one snapshot a transaction.
"""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from state.driver_errors import shown
from state.errors import Unreachable

BUSY_SECONDS = 30.0
"""How long a writer waits for its turn before it reports `Busy`."""

_USERINFO = re.compile(r"//[^/]*@")
_WRITERS = 0x6B62_7379_6E63
"""The advisory lock's key on PostgreSQL ("kbsync")."""


def sqlite_url(file: Path) -> URL:
    """The URL of an SQLite file, whatever its name: as text, `?` and `%` would mean something else."""
    return URL.create("sqlite", database=str(file))


def parse(url: str | URL) -> URL:
    """The ledger's URL with the drivers we use; `Unreachable` for anything but SQLite and PostgreSQL."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise Unreachable(
            f"{_USERINFO.sub('//…@', str(url))!r} is not a database URL: "
            "use sqlite:////path/to/kbsync.db or postgresql://user@host/name"
        ) from None
    if parsed.get_backend_name() == "sqlite" and "?" in str(url):
        raise Unreachable(
            f"the ledger's URL {shown(parsed)} has a `?`, after which SQLite's options would come, and there are none: "
            "write %3F for a `?` in the name of the file"
        )
    match parsed.get_backend_name():
        case "sqlite" if parsed.database and parsed.database != ":memory:":
            return parsed.set(drivername="sqlite")
        case "postgresql":
            return parsed.set(drivername="postgresql+psycopg")
    raise Unreachable(
        f"the ledger cannot be stored in {shown(parsed)}: use sqlite:////path/to/kbsync.db or postgresql://user@host/name"
    )


def write_engine(url: URL, *, busy: float = BUSY_SECONDS) -> Engine:
    """Transactions that exclude each other, durable at commit."""
    if url.get_backend_name() != "sqlite":
        return _postgres_writer(url, busy)
    engine = _sqlite(url, busy)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, record: Any) -> None:
        _pragmas(
            connection,
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "cache_size=-65536",
            "wal_autocheckpoint=16000",
        )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def read_engine(url: URL, *, busy: float = BUSY_SECONDS) -> Engine:
    """Snapshots that never block a writer and cannot write."""
    if url.get_backend_name() != "sqlite":
        engine = _postgres(url)
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    engine = _sqlite(url, busy)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, record: Any) -> None:
        _pragmas(connection, "query_only=ON", "cache_size=-65536")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def migration_engine(url: URL, *, busy: float = BUSY_SECONDS) -> Engine:
    """Like the write engine, but makes the file, and has foreign keys off while tables are recreated."""
    if url.get_backend_name() != "sqlite":
        return _postgres_writer(url, busy)
    engine = _sqlite(url, busy, create=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, record: Any) -> None:
        _pragmas(connection, "journal_mode=WAL", "synchronous=FULL", "foreign_keys=OFF")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def upkeep_engine(url: URL) -> Engine:
    """PostgreSQL without transactions, for statements that must not be in one."""
    return _postgres(url).execution_options(isolation_level="AUTOCOMMIT")


def check_place(url: URL) -> None:
    """Raises Unreachable when the SQLite file's directory is missing or cannot be written."""
    if url.get_backend_name() != "sqlite":
        return
    file = Path(str(url.database))
    try:
        there = file.parent.is_dir()
    except PermissionError as error:
        raise Unreachable(
            f"{file.parent} cannot be reached by this user ({error.strerror} for a directory above it): "
            "change its permissions or choose another home"
        ) from None
    if not there:
        raise Unreachable(
            f"the directory {file.parent} for the ledger does not exist: create it or choose another home"
        )
    for place in (file.parent, file):
        if place.exists() and not os.access(place, os.R_OK | os.W_OK, effective_ids=True):
            raise Unreachable(
                f"{place} cannot be read and written by this user: change its owner or choose another home"
            )


def _sqlite(url: URL, busy: float, *, create: bool = False) -> Engine:
    path = Path(str(url.database)).absolute()

    def connect() -> sqlite3.Connection:
        uri = f"{path.as_uri()}?mode={'rwc' if create else 'rw'}"
        return sqlite3.connect(uri, uri=True, timeout=busy, isolation_level=None, check_same_thread=False)

    return create_engine("sqlite://", creator=connect, poolclass=QueuePool)


def _pragmas(connection: sqlite3.Connection, *pragmas: str) -> None:
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}").close()


def _postgres(url: URL) -> Engine:
    engine = create_engine(url, pool_pre_ping=True)

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Dialect, record: Any, arguments: Any, options: dict[str, Any]) -> Any:
        # Before SQLAlchemy asks the first question, whose answer it cannot read in SQL_ASCII.
        connection: Any = dialect.connect(*arguments, **{**options, "client_encoding": "UTF8"})
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            connection.close()
            raise Unreachable(
                f"{shown(url)} has the encoding {encoding}, which cannot hold every label: create the database "
                "again with ENCODING 'UTF8' TEMPLATE template0, and restore a backup into it"
            )
        return connection

    return engine


def _postgres_writer(url: URL, busy: float) -> Engine:
    engine = _postgres(url)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{round(busy * 1000)}ms'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")

    return engine
