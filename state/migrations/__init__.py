"""Creating, upgrading and checking the tables, from inside the program.

Revisions are numbered files in `versions/`, so the newest this code knows is the last file's name
and a ledger with a higher number was made by a newer version. Each migration is one transaction
with foreign keys off: on SQLite alembic recreates a table to alter it, which would lose that
table's triggers (hence `events`, which has them, is never altered that way) and, with foreign keys
on, delete its children.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import URL

from state.database import migration_engine
from state.driver_errors import shown
from state.errors import Damaged, NewerSchema, NotMigrated

HERE = Path(__file__).parent


def newest() -> str:
    """The revision that this code is written for, `0001` or later."""
    return max(path.name[:4] for path in (HERE / "versions").glob("*.py") if re.match(r"\d{4}_", path.name))


def check(connection: Connection, where: str) -> None:
    """Raises NotMigrated or NewerSchema unless the ledger is at `newest()`."""
    found = _revision(connection)
    if found is None:
        raise NotMigrated(f"{where} has no kbsync tables: create them first (migrate)")
    _refuse_newer(found, where)
    if found < newest():
        raise NotMigrated(
            f"{where} is at revision {found}, this version needs {newest()}: back it up and migrate"
        )


def upgrade(url: URL, busy: float, revision: str, seal: Callable[[Connection, str, str], None]) -> None:
    """Creates or upgrades the tables; raises NewerSchema, with nothing changed, where they are newer.

    `seal(connection, from, to)` is called in the same transaction, where older tables became this code's.
    """
    _migrate(url, busy, "upgrade", revision, seal)


def downgrade(url: URL, busy: float, revision: str) -> None:
    """Takes the tables back to an older revision; `base` removes them."""
    _migrate(url, busy, "downgrade", revision)


def recreate(connection: Connection) -> None:
    """Remove our tables, if there are any, and create them, in the caller's transaction."""
    if _revision(connection) is not None:
        _command(connection, "downgrade", "base")
    _command(connection, "upgrade", "head")


def _migrate(
    url: URL,
    busy: float,
    direction: str,
    revision: str,
    seal: Callable[[Connection, str, str], None] | None = None,
) -> None:
    engine = migration_engine(url, busy=busy)
    try:
        with engine.begin() as connection:
            if (found := _revision(connection)) is not None:
                _refuse_newer(found, shown(url))
            if direction == "upgrade" and found == newest():
                return
            _command(connection, direction, revision)
            _check_foreign_keys(connection, shown(url))
            if seal is not None and found not in (None, newest()) and _revision(connection) == newest():
                seal(connection, str(found), newest())
    finally:
        engine.dispose()


def _command(connection: Connection, direction: str, revision: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.attributes["connection"] = connection
    move: Any = getattr(command, direction)
    move(config, revision)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _refuse_newer(found: str, where: str) -> None:
    if found > newest():
        raise NewerSchema(
            f"{where} is at revision {found}, made by a newer version; this one knows {newest()}: "
            "upgrade the program, or restore the backup from before the upgrade"
        )


def _check_foreign_keys(connection: Connection, where: str) -> None:
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise Damaged(
                f"{where}: migrating would leave rows without parents ({broken[:3]}); nothing was changed"
            )
