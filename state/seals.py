"""Seals: a digest of every row a transaction wrote, kept in the column `rows` of its events.

Events say what happened; seals tie the tables to them.  A row that is changed, deleted or added by
anything but this program differs from its last seal, and the verifier names it (`table_proof.py`).

A seal covers a row's columns by name, without those that are null (so that a column added later changes
nothing) and without what changes all the time and decides nothing (`LEFT_OUT`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Column, Connection, Table, select, tuple_

from state.hash_chain import canonical, exact

UNSEALED = frozenset(
    {"events", "subtrees", "ledger", "checks", "leases", "cursors", "sources", "views", "view_facts"}
)
"""Tables without seals.

The chain covers the events, from which the subtrees are computed again, and a view's digest its facts.  A lease is
renewed every minute, and its generation is in the log.  Cursors, and how sources go, change whenever a source is
read, news or not; what a cursor passes over is found by the next reconciliation.  The others are about this
installation.
"""

LEFT_OUT: Mapping[str, frozenset[str]] = {
    "observations": frozenset({"repeats"}),
    "readings": frozenset({"revision", "gone", "lift"}),
}
"""Columns that a source's every reading may move: when it was read, and which revisions stated the same."""

GROUPED: Mapping[str, str] = {"probes": "fact"}
"""Tables that are written a group at a time, with the column that names the group: one seal covers it."""

CHUNK = 500
DIGEST_CHARACTERS = 32
"""128 bits: finding another row with the same seal is infeasible."""

Key = tuple[Any, ...]
"""The values of a row's primary key (of a group's column, where the table is grouped)."""
Values = Mapping[str, Any]
"""A row as it was written, by column."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What there is to know of a table to seal its rows; made once, for a seal is made of every row written."""

    keys: tuple[str, ...]
    """Columns that name a row, or a group of rows."""
    covered: tuple[str, ...]
    """Columns that a seal covers, in the table's order."""
    required: frozenset[str]
    """Those of them that the database fills in where a new row does not give them, or refuses to be without."""
    grouped: bool


@cache
def layout(source: Table) -> Layout:
    covered = _covered(source)
    return Layout(
        tuple(column.name for column in key_columns(source)),
        tuple(column.name for column in covered),
        frozenset(one.name for one in covered if not one.nullable or one.server_default is not None),
        source.name in GROUPED,
    )


def is_sealed(source: Table) -> bool:
    """Whether the table's rows are sealed."""
    return source.name not in UNSEALED


def key_columns(source: Table) -> list[Column[Any]]:
    """What names a row, or a group of rows."""
    if (group := GROUPED.get(source.name)) is not None:
        return [source.c[group]]
    return list(source.primary_key.columns)


def key_text(key: Sequence[Any]) -> str:
    """A key as the log has it; of a digest, its first 12 characters."""
    if len(key) == 1 and type(key[0]) is int:
        return str(key[0])
    return "/".join(str(part)[:12] if _is_digest(part) else str(part) for part in key)


def of_new(source: Table, rows: Iterable[Values]) -> Iterator[tuple[Key, Values | None]]:
    """Keys of rows about to be inserted, and the rows themselves; None for one that has to be read from the
    database for its seal, because the database completes it or it is one of a group."""
    how = layout(source)
    for row in rows:
        whole = not how.grouped and how.required <= row.keys()
        yield tuple([row[name] for name in how.keys]), row if whole else None


def seals(connection: Connection, source: Table, rows: Mapping[Key, Values | None]) -> dict[str, str | None]:
    """The seals of these rows as they are now, by the text of their key; None for one that is gone.

    A row that is given is not read.
    """
    names = layout(source).covered
    found: dict[str, str | None] = {}
    unknown = []
    for key, row in rows.items():
        if row is None:
            found[key_text(key)] = None
            unknown.append(key)
        else:
            found[key_text(key)] = _seal(
                [{name: value for name in names if (value := row.get(name)) is not None}]
            )
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
    how = layout(source)
    places = [how.covered.index(name) for name in how.keys]
    group: list[Values] = []
    key = ""
    for row in rows:
        values = {name: value for name, value in zip(how.covered, row, strict=True) if value is not None}
        text = key_text([row[place] for place in places])
        if not how.grouped:
            yield text, _seal([values])
            continue
        if text != key and group:
            yield key, _seal(group)
            group = []
        key = text
        group.append(values)
    if group:
        yield key, _seal(group)


def digest(rows: Sequence[Values]) -> str:
    """The seal of a row, or of a group of rows in order."""
    return _seal([{name: value for name, value in row.items() if value is not None} for row in rows])


def salted(salt: str | None, seal: str) -> str:
    """The seal as an event has it: nobody who does not know the salt can confirm a guess at the row.

    Without a salt, as an older version wrote it.
    """
    return seal if salt is None else hashlib.sha256(f"{salt}{seal}".encode()).hexdigest()[:DIGEST_CHARACTERS]


def text_of(found: Mapping[str, Mapping[str, str | None]], salt: str) -> str:
    """Seals by table and key as an event has them, salted: RFC 8785 text."""
    plain = all(key.isascii() for seals in found.values() for key in seals)
    hidden = {
        name: {key: None if seal is None else salted(salt, seal) for key, seal in seals.items()}
        for name, seals in found.items()
    }
    return exact(hidden).decode() if plain else canonical(hidden)


def _seal(rows: Sequence[Values]) -> str:
    """The digest of rows without nulls."""
    try:
        fractions = float in {type(value) for row in rows for value in row.values()}
        text = canonical(rows).encode() if fractions else exact(rows)
    except (ValueError, TypeError):  # bytes or broken text in a column: no row of ours
        return ""
    return hashlib.sha256(text).hexdigest()[:DIGEST_CHARACTERS]


def _covered(source: Table) -> list[Column[Any]]:
    """The columns that a seal covers."""
    left_out = LEFT_OUT.get(source.name, frozenset())
    return [column for column in source.c if column.name not in left_out]


def _is_digest(part: Any) -> bool:
    return isinstance(part, str) and len(part) == 64 and ":" not in part
