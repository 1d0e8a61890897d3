"""From what a database driver raises to the errors of this package: each names the database and what to do.

SQLite tells its conditions by message, PostgreSQL by SQLSTATE
(https://www.postgresql.org/docs/current/errcodes-appendix.html).  What is neither a condition of the database
nor of its rows (a syntax error, the refusal of a trigger) is a fault of this program and stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, NoSuchModuleError

from state.errors import Busy, Damaged, Inconsistent, NotMigrated, StateError, Unreachable, Unstorable

_GRANT = (
    "GRANT ALL ON ALL TABLES IN SCHEMA public TO <role>, and CREATE and USAGE on the schema for migrations"
)

_POSTGRES: dict[str, tuple[type[StateError], str]] = {
    "25006": (Unreachable, "the server is a read-only standby, or the role is: connect to the primary"),
    "25P03": (
        Busy,
        "a transaction was idle for longer than the server allows: try again; if it happens often, "
        "ALTER ROLE <role> SET idle_in_transaction_session_timeout = '1min'",
    ),
    "42501": (Unreachable, f"the role lacks a privilege: {_GRANT}"),
    "42P01": (NotMigrated, "a table is missing: migrate, or restore a backup"),
    "3F000": (NotMigrated, "the schema is missing: create it and migrate, or restore a backup"),
    "40001": (Busy, "another transaction interfered: try again"),
    "40P01": (Busy, "another transaction interfered: try again"),
    "55P03": (Busy, "it is locked by another writer: try again"),
    "57014": (
        Busy,
        "a statement took longer than the server's statement_timeout: try again, or raise it for this role",
    ),
    "57P04": (Unreachable, "the database was dropped: restore a backup"),
    "22021": (Unstorable, "a text has characters that the database cannot hold"),
    "22P05": (Unstorable, "a text has characters that the database cannot hold"),
    "08": (Unreachable, "check the server, the name and the credentials"),
    "23": (
        Inconsistent,
        "rows contradict each other, as after a change by hand: run `kbsync audit verify --tables`",
    ),
    "28": (Unreachable, "check the server, the name and the credentials"),
    "3D": (Unreachable, "create the database, or correct its name"),
    "53": (Unreachable, "the server is out of space, memory or connections: free some, or raise its limits"),
    "57": (Unreachable, "the server is stopping or starting: it is tried again"),
    "58": (Unreachable, "the server reports an error of its disk: see its log"),
    "XX": (Damaged, "the database is corrupt: see the server's log, and restore a backup"),
}
"""By SQLSTATE, or by its class (the first two characters)."""

_SQLITE: tuple[tuple[tuple[str, ...], type[StateError], str], ...] = (
    (("locked",), Busy, "is locked by another process: try again, or find out who holds it (fuser {file})"),
    (
        ("readonly", "read-only"),
        Unreachable,
        "cannot be written: check its owner, its permissions and the file system",
    ),
    (
        ("disk is full", "disk I/O"),
        Unreachable,
        "cannot be written: free some space or check the disk; nothing was changed",
    ),
    (("not a database", "malformed"), Damaged, "is not a ledger, or is corrupt: restore it from a backup"),
    (("no such table",), NotMigrated, "lacks a table: migrate, or restore it from a backup"),
    (
        ("UNIQUE constraint", "FOREIGN KEY constraint", "CHECK constraint", "NOT NULL constraint"),
        Inconsistent,
        "has rows that contradict each other, as after a change by hand: run `kbsync audit verify --tables`",
    ),
)
"""Parts of SQLite's messages, the error, and what is said of the file."""


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Turns the driver's errors about the state of the database into the package's own."""
    try:
        yield
    except DBAPIError as error:
        known = _known(error, url)
        if known is None:
            raise
        raise known from error
    except UnicodeEncodeError as error:  # SQLite's driver, for a lone surrogate
        raise Unstorable(f"{shown(url)}: {error.object!r} is not Unicode text: {error.reason}") from error
    except NoSuchModuleError as error:
        raise Unreachable(f"no driver for {shown(url)}: {error}") from error
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise Unreachable(
            f"{shown(url)} needs the PostgreSQL driver: pip install 'kbsync[postgres]'"
        ) from error


def shown(url: URL) -> str:
    """The URL without its password, for messages."""
    return url.render_as_string(hide_password=True)


def _known(error: DBAPIError, url: URL) -> StateError | None:
    """The package's error for a driver's, or None where it is no condition of the database."""
    message = str(error.orig)
    if url.get_backend_name() == "sqlite":
        return _sqlite_error(message, Path(str(url.database)))
    return _postgres_error(message, getattr(error.orig, "sqlstate", None), shown(url))


def _sqlite_error(message: str, file: Path) -> StateError | None:
    if "unable to open" in message:
        if file.parent.is_dir() and not file.exists():
            return NotMigrated(f"there is no ledger at {file}: create it first (migrate)")
        return Unreachable(
            f"{file} cannot be opened ({message}): check the path, its owner and its permissions"
        )
    for parts, kind, advice in _SQLITE:
        if any(part in message for part in parts):
            what, colon, rest = advice.format(file=file).partition(":")
            return kind(f"{file} {what} ({message}){colon}{rest}")
    return None


def _postgres_error(message: str, sqlstate: str | None, where: str) -> StateError | None:
    first = message.strip().splitlines()[0] if message.strip() else "no message"
    if sqlstate is None:
        if "NUL" in message:  # psycopg refuses it before the server sees it
            return Unstorable(f"{where}: a text holds a NUL character, which no database can hold: {first}")
        return Unreachable(
            f"{where} cannot be used ({first}): check the server, the name and the credentials"
        )
    found = _POSTGRES.get(sqlstate) or _POSTGRES.get(sqlstate[:2])
    if found is None:
        return None
    kind, advice = found
    return kind(f"{where} cannot be used ({first}): {advice}")
