"""What people with access to the disk or the database can do."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def flip(path: Path) -> None:
    """One bit of one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.chmod(0o644)
    with path.open("r+b") as file:  # in place: a hard link of it is the same file
        file.write(content)


def sql(database: Path, *statements: str) -> None:
    """Statements on an SQLite ledger, as its owner."""
    with closing(sqlite3.connect(database)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
