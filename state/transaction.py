"""One transaction on the ledger: the parts that every query and transition is built from.

`Reader` runs queries and makes records of rows; `Writer` adds the audit log: every change has an event
in the same transaction.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Row,
    Table,
    and_,
    bindparam,
    column,
    delete,
    func,
    insert,
    literal,
    select,
    tuple_,
    update,
)

from state import hash_chain, seals
from state.archives.cuts import Cut, cut_of
from state.archives.files import Archive
from state.errors import Unstorable
from state.event_kinds import EventKind
from state.kinds_of_events import is_kind, is_rare, is_rare_kind
from state.records import Event, SlotKey
from state.tables import Events, Slots, table
from state.tree import SPAN, Tree

T = TypeVar("T")
AnyRow = Row[*tuple[Any, ...]]
"""A row of whatever columns: SQLAlchemy types a row by its columns, ours are chosen by a record's fields."""


CHUNK = 500
"""Values in one IN list: far below both databases' limits on parameters."""

SEALS = 2_000
"""Rows that one event of a migration seals."""

Seals = Mapping[str, Mapping[str, str | None]]
"""Seals by table and by the text of a row's key; None for a row that is gone."""

SALT_BYTES = 16
"""128 bits: nobody can try them all."""

EVENTS, SLOTS = table(Events), table(Slots)
LEDGER = "ledger"
"""The actor of events that no caller asked for."""


_EVENT_NAMES = tuple(item.name for item in fields(Event))
EVENT = [EVENTS.c[name] for name in _EVENT_NAMES]
"""The columns that make the record of an event: all but the seals and the salt."""


def chunks(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """`items` without repetitions, in lists of at most `size`."""
    distinct = list(dict.fromkeys(items))
    for start in range(0, len(distinct), size):
        yield distinct[start : start + size]


def columns_of(source: Table, record: type[Any]) -> list[Column[Any]]:
    """The table's columns in the order of the record's fields, so that `record(*row)` makes one.

    A table that refers to a slot by id has its subject and relation there.
    """
    return [(source if item.name in source.c else SLOTS).c[item.name] for item in fields(record)]


@dataclass
class Reader:
    """Queries inside one transaction; `clock` gives aware datetimes."""

    connection: Connection
    clock: Callable[[], datetime]
    archive: Archive = field(default_factory=lambda: Archive(None), kw_only=True)
    """Where the events are that were moved out of the ledger."""

    def _rows(self, statement: Any) -> Sequence[AnyRow]:
        return self.connection.execute(statement).fetchall()

    def _row(self, statement: Any) -> AnyRow | None:
        return self.connection.execute(statement).first()

    def _value(self, statement: Any) -> Any:
        return self.connection.execute(statement).scalar()

    def _named(self, pairs: Sequence[SlotKey]) -> ColumnElement[bool]:
        """The slots of these names: they travel as one JSON parameter, so the statement is compiled once."""
        sqlite = self.connection.dialect.name == "sqlite"
        unnest = func.json_each if sqlite else func.json_array_elements
        pair = unnest(literal(pairs, JSON)).table_valued(column("value", JSON)).c.value
        return tuple_(SLOTS.c.subject, SLOTS.c.relation).in_(select(pair[0].as_string(), pair[1].as_string()))

    def cut(self) -> Cut | None:
        """The newest signed cut of the log."""
        return cut_of(self.connection)

    def head(self) -> Event | None:
        """The newest event, or None in an empty log."""
        row = self._row(select(*EVENT).order_by(EVENTS.c.seq.desc()).limit(1))
        return event_of(row) if row else None

    def head_number(self) -> int:
        """The number of the newest event; 0 in an empty log."""
        return int(self._value(select(func.max(EVENTS.c.seq))) or 0)

    def events(
        self,
        after: int = 0,
        limit: int | None = None,
        run: int | None = None,
        fact: int | None = None,
        kind: str | None = None,
    ) -> list[Event]:
        """Events with a sequence number above `after`, oldest first; `kind` may end in `*`."""
        wanted = [EVENTS.c.seq > after]
        if run is not None:
            wanted.append(EVENTS.c.run == run)
        if fact is not None:
            wanted.append(EVENTS.c.fact == fact)
        if kind is not None:
            by_kind = run is None and fact is None and is_rare(kind)
            wanted.append(is_rare_kind(kind) if by_kind else is_kind(kind))
        rows = self._rows(select(*EVENT).where(and_(*wanted)).order_by(EVENTS.c.seq).limit(limit))
        return [event_of(row) for row in rows]


def event_of(row: AnyRow) -> Event:
    """The record of an event's row; its instant is parsed from the text that the hash covers."""
    return event_of_row(row._mapping)


def event_of_row(values: Mapping[Any, Any]) -> Event:
    """As `event_of`, of columns by name, of which there may be more."""
    given = {name: values[name] for name in _EVENT_NAMES}
    return Event(**{**given, "at": datetime.fromisoformat(given["at"])})


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event about to be written."""

    kind: str
    """An `EventKind`; a str because most are made of a state's name (a test compares them)."""
    body: Mapping[str, Any]
    run: int | None = None
    fact: int | None = None


@dataclass
class Writer(Reader):
    """Transitions: each change and its event are one transaction."""

    identity: str = ""
    """The operating system's user who is writing: recorded in every event, in addition to the claimed actor."""
    _link: tuple[int, str] | None = field(default=None, init=False)
    """Sequence number and hash of the newest event, once read: no other writer can add one meanwhile."""
    _touched: dict[Table, dict[seals.Key, seals.Values | None]] = field(default_factory=dict, init=False)
    """Rows written since the last event, whole where they are known: the next event has their seals."""

    def emit(
        self,
        kind: EventKind,
        actor: str,
        body: Mapping[str, Any],
        run: int | None = None,
        fact: int | None = None,
    ) -> Event:
        """Appends one event that belongs to no transition of this package (a poll that failed, a command)."""
        return self._log(actor, [NewEvent(kind, body, run, fact)])[0]

    def seal(self) -> None:
        """Gives the rows that were written after the last event one of their own; before every commit."""
        if self._touched:
            self._log(LEDGER, [NewEvent("rows.written", {})])

    def seal_anew(self, rows: Seals, before: str, after: str) -> None:
        """Seals rows (by table and key) that the migration from revision `before` to `after` rewrote."""
        for name, known in rows.items():
            for chunk in chunks(known, SEALS):
                body = {"from": before, "to": after, "table": name, "rows": len(chunk)}
                self._log(
                    LEDGER, [NewEvent("ledger.sealed", body)], {name: {key: known[key] for key in chunk}}
                )

    def _log(self, actor: str, notes: Sequence[NewEvent], sealed: Seals | None = None) -> list[Event]:
        """Appends events in order, each tied to the one before.

        The last seals what was written since the event before, or carries `sealed`.
        """
        if not notes:
            return []
        now = self.clock()
        at, rows, made = hash_chain.instant(now), [], []
        seq, previous = self._link or self._head_link()
        own = {"os_user": self.identity} if self.identity else {}
        sealed = sealed or self._sealed()
        salt = secrets.token_hex(SALT_BYTES) if sealed else None
        for number, note in enumerate(notes, start=1):
            seq += 1
            row: dict[str, Any] = {
                "seq": seq,
                "at": at,
                "kind": note.kind,
                "actor": actor,
                "run": note.run,
                "fact": note.fact,
                "body": hash_chain.canonical({**note.body, **own}),
                "previous": previous,
                "rows": seals.text_of(sealed, salt) if salt and sealed and number == len(notes) else None,
                "salt": secrets.token_hex(SALT_BYTES),
                "seal_salt": salt if number == len(notes) else None,
            }
            row["hash"] = previous = hash_chain.link(row)
            rows.append(row)
            made.append(Event(**{**{name: row[name] for name in _EVENT_NAMES}, "at": now}))
        self.connection.execute(insert(EVENTS), rows)
        if seq // SPAN > (seq - len(rows)) // SPAN:
            Tree(self.connection).grow()
        self._link = (seq, previous)
        return made

    def _sealed(self) -> Seals:
        """The seals of what was written since the last event."""
        touched, self._touched = self._touched, {}
        return {source.name: seals.seals(self.connection, source, keys) for source, keys in touched.items()}

    def _touch(self, source: Table, keys: Iterable[seals.Key]) -> None:
        if seals.is_sealed(source):
            self._touched.setdefault(source, {}).update(dict.fromkeys(keys))

    def _head_link(self) -> tuple[int, str]:
        row = self._row(select(EVENTS.c.seq, EVENTS.c.hash).order_by(EVENTS.c.seq.desc()).limit(1))
        return (row.seq, row.hash) if row else (0, hash_chain.GENESIS)

    def _slot_ids(self, pairs: Iterable[SlotKey]) -> dict[SlotKey, int]:
        """The ids of slots by name; a slot that was never named before gets one."""
        ids: dict[SlotKey, int] = {}
        for chunk in chunks(pairs):
            rows = self._rows(select(SLOTS.c.subject, SLOTS.c.relation, SLOTS.c.id).where(self._named(chunk)))
            ids.update(((row.subject, row.relation), row.id) for row in rows)
            missing = [pair for pair in chunk if pair not in ids]
            first = self._next_id(SLOTS)
            self._insert(
                SLOTS,
                [
                    {"id": id, "subject": subject, "relation": relation}
                    for id, (subject, relation) in enumerate(missing, first)
                ],
            )
            ids.update(zip(missing, range(first, first + len(missing)), strict=True))
        return ids

    def _next_id(self, source: Table) -> int:
        """One more than the largest id: writers take turns and rows are never deleted, so it is free."""
        largest = self._value(select(func.max(source.c.id)))
        return 1 if largest is None else int(largest) + 1

    def _insert(self, source: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Raises Unstorable for a text that PostgreSQL would refuse and SQLite would keep."""
        if rows:
            _check_texts(source, rows)
            self.connection.execute(insert(source), rows)
            if seals.is_sealed(source):
                self._touched.setdefault(source, {}).update(seals.of_new(source, rows))

    def _rewrite(
        self,
        source: Table,
        rows: Sequence[Mapping[str, Any]],
        rest: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Change rows by their `id`; every row gives the same columns.  Raises Unstorable.

        `rest`: for each row the columns that stay, as they are in this transaction, to spare reading the rows
        again for their seals.
        """
        if rows:
            _check_texts(source, rows)
            keyed = [{**row, "_id": row["id"]} for row in rows]
            self.connection.execute(update(source).where(source.c.id == bindparam("_id")), keyed)
            if rows[0].keys() - seals.LEFT_OUT.get(source.name, frozenset()) - {"id"}:
                self._touch_rewritten(source, rows, rest)

    def _touch_rewritten(
        self,
        source: Table,
        rows: Sequence[Mapping[str, Any]],
        rest: Sequence[Mapping[str, Any]] | None,
    ) -> None:
        if not seals.is_sealed(source):
            return
        touched = self._touched.setdefault(source, {})
        covered = frozenset(seals.layout(source).covered)
        for number, row in enumerate(rows):
            key = (row["id"],)
            if (known := touched.get(key)) is not None:
                touched[key] = {**known, **row}
            else:
                whole = row if rest is None else {**rest[number], **row}
                touched[key] = whole if covered <= whole.keys() else None

    def _update(self, source: Table, where: ColumnElement[bool], /, **values: Any) -> int:
        """How many rows were changed.  Raises Unstorable."""
        _check_texts(source, [values])
        changed = update(source).where(where).values(**values).returning(*seals.key_columns(source))
        keys = [tuple(row) for row in self._rows(changed)]
        if values.keys() - seals.LEFT_OUT.get(source.name, frozenset()):
            self._touch(source, keys)
        return len(keys)

    def _delete(self, source: Table, where: ColumnElement[bool] | None = None) -> int:
        """How many rows were deleted."""
        statement = delete(source) if where is None else delete(source).where(where)
        keys = [tuple(row) for row in self._rows(statement.returning(*seals.key_columns(source)))]
        self._touch(source, keys)
        return len(keys)


def _check_texts(source: Table, rows: Iterable[Mapping[str, Any]]) -> None:
    for row in rows:
        for name, value in row.items():
            if type(value) is str and "\0" in value:
                raise Unstorable(
                    f"{source.name}.{name}: {value[:80]!r} holds a NUL character, which PostgreSQL cannot "
                    "store, so it is refused on every database"
                )
