"""Seals: a digest of every row a transaction wrote, kept in the column `rows` of its events.

Events say what happened; seals tie the tables to them.  Who changes a row, deletes one or adds one past this
program leaves a row that is not the one that was sealed last, and the verifier names it (`table_proof.py`).

A seal covers a row's columns by name, without those that are null (so that a column added later changes
nothing) and without what changes all the time and decides nothing (`LEFT_OUT`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Table, select, tuple_

from state.hash_chain import canonical, exact

UNSEALED = frozenset({"events", "ledger", "checks", "leases", "cursors", "sources", "views", "view_facts"})
"""Tables without seals.

The chain covers the events, and a view's digest its facts.  A lease is renewed every minute, and its generation
is in the log.  Cursors, and how sources go, change whenever a source is read, news or not; what a cursor passes
over is found by the next reconciliation.  The others are about this installation.
"""

LEFT_OUT: Mapping[str, frozenset[str]] = {
    "observations": frozenset({"repeats"}),
    "readings": frozenset({"revision", "gone", "lift"}),
}
"""Columns that a source's every reading may move: when it was read, and which revisions said the same."""

GROUPED: Mapping[str, str] = {"probes": "fact"}
"""Tables that are written a group at a time, with the column that names the group: one seal covers it."""

CHUNK = 500
DIGEST_CHARACTERS = 32
"""128 bits: nobody finds another row with the same seal."""

Key = tuple[Any, ...]
"""The values of a row's primary key (of a group's column, where the table is grouped)."""


def is_sealed(source: Table) -> bool:
    return source.name not in UNSEALED


def key_columns(source: Table) -> list[Column[Any]]:
    """What names a row, or a group of rows."""
    if (group := GROUPED.get(source.name)) is not None:
        return [source.c[group]]
    return list(source.primary_key.columns)


def key_text(key: Iterable[Any]) -> str:
    """A key as the log has it; of a digest, its first 12 characters."""
    return "/".join(str(part)[:12] if _is_digest(part) else str(part) for part in key)


def of_new(source: Table, rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Key, str | None]]:
    """Keys and seals of rows about to be inserted; None where the seal has to be read from the database,
    because the database completes the row or the row is one of a group."""
    names = [column.name for column in key_columns(source)]
    covered = [column.name for column in _covered(source)]
    completed = [
        column.name for column in _covered(source) if not column.nullable or column.server_default is not None
    ]
    for row in rows:
        key = tuple(row[name] for name in names)
        if source.name in GROUPED or not all(name in row for name in completed):
            yield key, None
        else:
            yield key, digest([{name: row.get(name) for name in covered}])


def seals(connection: Connection, source: Table, keys: Mapping[Key, str | None]) -> dict[str, str | None]:
    """The seals of these rows as they are now, by the text of their key; None for one that is gone.

    A row whose seal is given is not read.
    """
    found = {key_text(key): seal for key, seal in keys.items()}
    unknown = [key for key, seal in keys.items() if seal is None]
    named = key_columns(source)
    for start in range(0, len(unknown), CHUNK):
        chunk = unknown[start : start + CHUNK]
        where = (
            named[0].in_([key[0] for key in chunk]) if len(named) == 1 else tuple_(*named).in_(list(chunk))
        )
        found.update(sealed(connection.execute(rows_of(source).where(where)), source))
    return found


def rows_of(source: Table) -> Any:
    """A query of the table's rows in the order of their keys, with the columns that `sealed` reads."""
    return select(*_covered(source)).order_by(*source.primary_key.columns)


def sealed(rows: Iterable[Any], source: Table) -> Iterator[tuple[str, str]]:
    """Key and seal of each row of `rows_of(source)`, of each group where the table is grouped."""
    names = [column.name for column in key_columns(source)]
    group: list[Mapping[str, Any]] = []
    key = ""
    for row in rows:
        values = row._mapping
        text = key_text(values[name] for name in names)
        if source.name not in GROUPED:
            yield text, digest([values])
            continue
        if text != key and group:
            yield key, digest(group)
            group = []
        key = text
        group.append(values)
    if group:
        yield key, digest(group)


def digest(rows: Sequence[Mapping[str, Any]]) -> str:
    """The seal of a row, or of a group of rows in order."""
    kept = [{name: value for name, value in row.items() if value is not None} for row in rows]
    numbers = any(type(value) is float for row in kept for value in row.values())
    try:
        text = canonical(kept).encode() if numbers else exact(kept)
    except (ValueError, TypeError):  # bytes or broken text in a column: no row of ours
        return ""
    return hashlib.sha256(text).hexdigest()[:DIGEST_CHARACTERS]


def _covered(source: Table) -> list[Column[Any]]:
    """The columns that a seal covers."""
    left_out = LEFT_OUT.get(source.name, frozenset())
    return [column for column in source.c if column.name not in left_out]


def _is_digest(part: Any) -> bool:
    return isinstance(part, str) and len(part) == 64 and ":" not in part
