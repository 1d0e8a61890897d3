"""A ledger as one SQLite file: taken while others write, and put back into SQLite or PostgreSQL.

A backup is the same kind of file whatever database the ledger lies in, so it can be restored into the other kind
and read with any SQLite tool.  Seals and hashes cover values, not bytes of a database, and stay valid.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.engine import URL

from state import migrations
from state.database import migration_engine, read_engine, upkeep_engine
from state.driver_errors import translated
from state.errors import Damaged
from state.tables import Ledger, LedgerTable, table

_PAGE = 2_000
_IN_ORDER = LedgerTable.metadata.sorted_tables
"""Parents before their children."""


def copy_to_file(url: URL, file: Path, busy: float) -> None:
    """Write one consistent state of the ledger into a new SQLite file, synced.

    Nobody waits for it.  Raises what opening the ledger raises, and FileExistsError.
    """
    file.touch(mode=0o600, exist_ok=False)
    if url.get_backend_name() == "sqlite":
        _copy_file(Path(str(url.database)), file)
    else:
        target = URL.create("sqlite", database=str(file))
        migrations.upgrade(target, busy, "head", lambda *_: None)
        source = read_engine(url)
        into = migration_engine(target, busy=busy)
        try:
            with source.begin() as read, into.begin() as write:
                _copy_rows(read, write)
        finally:
            source.dispose()
            into.dispose()
    make_single(file)


def replace_with_file(url: URL, file: Path, busy: float, aside: Path | None = None) -> None:
    """Put the ledger in `file`, of this code's revision, in place of whatever lies at `url`: wholly or not at all.

    On PostgreSQL in one transaction.  On SQLite by renaming the file; what was there before is kept as `aside`,
    where one is named.
    """
    if url.get_backend_name() == "sqlite":
        _replace_file(Path(str(url.database)), file, aside)
        return
    source = read_engine(URL.create("sqlite", database=str(file)))
    into = migration_engine(url, busy=busy)
    try:
        with translated(url), source.begin() as read, into.begin() as write:
            migrations.recreate(write)
            _copy_rows(read, write)
    finally:
        source.dispose()
        into.dispose()


def _replace_file(place: Path, file: Path, aside: Path | None) -> None:
    if place.exists():
        # What lies in the old one's log of changes would be taken for the new one's.
        with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(place)) as old:
            old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            old.execute("PRAGMA journal_mode=DELETE")
        if aside is not None:
            os.link(place, aside)
    for log in ("-wal", "-shm"):  # left only by a ledger that is damaged
        left = place.with_name(place.name + log)
        if left.exists() and aside is not None:
            left.rename(aside.with_name(aside.name + log))
        left.unlink(missing_ok=True)
    if file.stat().st_dev != place.parent.stat().st_dev:
        near = place.with_name(f".staging-{place.name}")
        shutil.copyfile(file, near)
        file = near
    file.chmod(0o600)
    make_single(file)
    file.replace(place)
    _sync(place.parent)


def compact(url: URL, busy: float) -> None:
    """Rewrite every table without its dead rows; on SQLite, empty the log of changes beside the file as well."""
    if url.get_backend_name() == "sqlite":
        file = Path(str(url.database)).absolute()
        with closing(sqlite3.connect(file, timeout=busy, isolation_level=None)) as connection:
            connection.execute("VACUUM")
            (blocked, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if blocked:
            raise sqlite3.OperationalError("database is locked")
        return
    engine = upkeep_engine(url)
    try:
        with engine.connect() as connection:
            for source in _IN_ORDER:
                connection.execute(text(f"VACUUM FULL {source.name}"))
    finally:
        engine.dispose()


def check_file(file: Path) -> None:
    """Raise Damaged unless `file` is a whole SQLite database."""
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            (found,) = connection.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.DatabaseError as error:
        raise Damaged(f"{file} is not a ledger, or is corrupt ({error}): use another backup") from error
    if found != "ok":
        raise Damaged(f"{file} is corrupt ({found}): use another backup")


def is_empty(url: URL) -> bool:
    """Whether there is no ledger at `url`: no file, or a database without our tables."""
    if url.get_backend_name() == "sqlite":
        return not Path(str(url.database)).exists()
    engine = read_engine(url)
    try:
        with translated(url), engine.begin() as connection:
            return not inspect(connection).has_table("alembic_version")
    finally:
        engine.dispose()


def _copy_file(source: Path, target: Path) -> None:
    uri = f"{source.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as read, closing(sqlite3.connect(target)) as write:
        read.backup(write)


def _copy_rows(read: Connection, write: Connection) -> None:
    write.execute(table(Ledger).delete())  # a fresh ledger has a name already
    for source in _IN_ORDER:
        ordered = select(source).order_by(*source.primary_key.columns)
        rows = read.execute(ordered, execution_options={"yield_per": _PAGE})
        for page in rows.mappings().partitions(_PAGE):
            write.execute(source.insert(), [dict(row) for row in page])


def make_single(file: Path) -> None:
    """Fold the log of changes beside an SQLite file into it, and sync it."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
