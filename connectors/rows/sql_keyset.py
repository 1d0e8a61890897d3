"""Follows a table by (updated_at, key), so that only changed rows are read.

Three rules ensure that no change is lost.  Rows with equal times are ordered by key, so a page boundary
between them leaves no gap.  A pass ends at the newest row that existed when it began.  Each pass looks
back by an overlap, for transactions that set the time early and committed late; rows that are exactly
as they were delivered are skipped.

Rows that cannot be followed, because they have no key, no time, or a time too far in the future, are read
at every poll and delivered when they have changed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from connectors.border import shown, text_of
from connectors.cursors import dump_cursor, load_cursor, typed
from connectors.dates import EARLIEST, instant
from connectors.errors import SourceDataError
from connectors.observations import Poll
from connectors.rows.columns import Row
from connectors.rows.mapping import Mapper
from connectors.rows.sql_tables import Table
from connectors.rows.sql_values import bind, bind_all
from connectors.rows.whole_reading import first_reject, next_revision, report_rejects

_FORMAT = 1
_ZONE = re.compile(r"(Z|[+-]\d\d:?\d\d)$", re.ASCII)
_SEEN_IN_CURSOR = 5_000
"""Maximum delivered rows that a cursor stores; if one overlap has more, they are read again."""
_NOT_FOLLOWED = 5_000
"""Maximum rows that are read although they cannot be followed."""
_SUBJECTS_IN_QUERY = 400
_EXAMPLES = 500
"""Rows among which a time is looked for that shows the form of the column."""
_AHEAD = timedelta(hours=15)
"""How far ahead of our clock a time may be: databases may keep the local time of any zone."""
_FIRST = EARLIEST + timedelta(days=1)
"""Earlier times mean that there is none, such as PostgreSQL's `-infinity`."""


@dataclass(frozen=True, slots=True)
class _Cursor:
    """How far a table has been followed."""

    high: str | None = None
    """The highest updated_at delivered, as text."""
    seen: Mapping[str, str] = field(default_factory=dict)
    """Key → digest of rows delivered within the overlap before `high`."""
    revision: int = 0
    asked: str | None = None
    """When the last pass began, by our clock."""
    unfollowed: Sequence[str] = ()
    """Digests of rows that cannot be followed, as they were delivered."""
    mapping: str = ""
    """Digest of the settings that the rows were read with: under others, all are read again."""

    def dump(self) -> str:
        return dump_cursor(
            _FORMAT,
            {
                "high": self.high,
                "seen": dict(self.seen),
                "revision": self.revision,
                "asked": self.asked,
                "unfollowed": list(self.unfollowed),
                "mapping": self.mapping,
            },
        )

    @classmethod
    def load(cls, text: str | None) -> _Cursor:
        return load_cursor(text, _FORMAT, typed(cls), ("high", "seen", "revision"))


def rewound(cursor: str, to: datetime | None) -> str:
    """The cursor from which rows with a time since `to` (all rows, if None) are read again."""
    where = _Cursor.load(cursor)
    high = None if to is None or where.high is None else min(to, instant(where.high)).isoformat()
    return replace(where, high=high, seen={}, asked=None, unfollowed=()).dump()


@dataclass(frozen=True, slots=True)
class _Times:
    """The times of one column: timestamps, or texts in ISO 8601 that all have one form and one zone."""

    example: datetime | str

    @classmethod
    def like(cls, example: object) -> _Times:
        """Raises SourceDataError for a column that holds no times."""
        if not isinstance(example, datetime | str):
            raise _no_time(example)
        return cls(example)

    def bound(self, at: datetime) -> sa.BindParameter[Any]:
        """`at` in the form of the column, so that comparing means comparing time.

        Texts are compared as texts, so they are given one in their zone that does not name it.
        """
        if not isinstance(self.example, str):
            return bind(at if self.example.tzinfo else at.replace(tzinfo=None))
        text = (at + _ahead_of_utc(self.example)).replace(tzinfo=None)
        return bind(text.isoformat("T" if "T" in self.example else " ", "seconds"))


@dataclass(frozen=True, kw_only=True)
class KeysetPass:
    """One poll of one table."""

    source: str
    table: Table
    columns: Sequence[str]
    """Those that are read, `updated_at`, `key` and `subject` among them."""
    updated_at: str
    key: str
    subject: str
    page: int
    overlap: timedelta
    began: datetime
    """Now, at the beginning of the pass."""
    mapped: Callable[[Iterable[Row]], Mapper]
    mapping: str
    """Digest of the settings that decide what rows mean."""

    def steps(self, cursor: str | None) -> Iterator[Poll]:
        """Each with the cursor that covers it.  Raises the ConnectorError tree."""
        where = _Cursor.load(cursor)
        if where.mapping not in ("", self.mapping):
            where = _Cursor(revision=where.revision)
        since = self._look_back(where)
        where = replace(where, mapping=self.mapping, asked=self.began.isoformat())
        at, key = _column(self.updated_at), _column(self.key)
        rows = self.table.rows([self.updated_at], at.is_not(None), limit=_EXAMPLES)
        examples = [row[self.updated_at] for row in rows]
        followed: sa.ColumnElement[bool] = sa.false()
        if examples:
            # SQLite's columns hold values of any type: one that is not a time must not stand for the others.
            times = _Times.like(next(filter(_is_time, examples), examples[0]))
            earliest, latest = times.bound(_FIRST), times.bound(self.began + _AHEAD)
            followed = sa.and_(key.is_not(None), at >= earliest, at <= latest)
            again = None if since is None else at >= times.bound(since)
            where = yield from self._followed(where, followed, again)
        yield from self._unfollowed(where, sa.or_(key.is_(None), at.is_(None), sa.not_(followed)))

    def _look_back(self, where: _Cursor) -> datetime | None:
        """The instant from which rows may have changed; None for all rows.

        This is the end of the last pass, or its beginning if that was earlier: times ahead of the clock must
        not hide later changes.
        """
        if where.high is None:
            return None
        high = instant(where.high)
        return _back(min(high, instant(where.asked)) if where.asked else high, self.overlap)

    def _followed(
        self, where: _Cursor, followed: sa.ColumnElement[bool], again: sa.ColumnElement[bool] | None
    ) -> Generator[Poll, None, _Cursor]:
        """The changed rows in the order of (updated_at, key); returns the cursor after them.

        Raises SourceDataError when a first pass finds no row that can be used; nothing was then consumed.
        """
        at, key = _column(self.updated_at), _column(self.key)
        ceiling = self.table.maximum(self.updated_at, followed)
        if ceiling is None:
            return where
        up_to = sa.and_(followed, at <= bind(ceiling))
        condition = up_to if again is None else sa.and_(up_to, again)
        order = (self.updated_at, self.key)
        usable, why, seen = where.high is not None, "", _Seen.of(where)
        while rows := list(self.table.rows(self.columns, condition, order=order, limit=self.page)):
            changed = [row for row in rows if not seen.has(self._id(row), _digest(row))]
            where = self._advanced(where, rows, seen)
            if changed:
                mapper, step = self._step(changed, where)
                usable, why = usable or bool(step.observations), why or first_reject(self.source, mapper)
                if usable:
                    yield step
            last, last_key = bind(rows[-1][self.updated_at]), bind(rows[-1][self.key])
            condition = sa.and_(up_to, sa.or_(at > last, sa.and_(at == last, key > last_key)))
        if not usable and why:
            raise SourceDataError(why)
        if where.high is None:
            raise _no_time(ceiling)
        return where

    def _advanced(self, where: _Cursor, rows: Sequence[Row], seen: _Seen) -> _Cursor:
        """The cursor after a page.  A row whose time is none counts as of the time before it."""
        high = where.high
        moment = instant(high) if high else EARLIEST
        for row in rows:
            text = _text(row[self.updated_at])
            if (at := _instant(text)) is not None:
                high, moment = text, at
            seen.add(self._id(row), _digest(row), moment)
        kept = seen.since(_back(min(moment, self.began), self.overlap))
        return replace(where, high=high, seen=kept, revision=next_revision(self.began, where.revision))

    def _unfollowed(self, where: _Cursor, condition: sa.ColumnElement[bool]) -> Iterator[Poll]:
        """Rows that cannot be followed, if they are not as they were.

        Raises SourceDataError, once the others are delivered, when there are too many of them.
        """
        rows = list(self.table.rows(self.columns, condition, limit=_NOT_FOLLOWED + 1))
        found = {_digest(row): row for row in rows[:_NOT_FOLLOWED]}
        known = set(where.unfollowed) & found.keys()
        fresh = sorted(found.keys() - known)
        for start in range(0, len(fresh), self.page):
            some = fresh[start : start + self.page]
            known.update(some)
            revision = next_revision(self.began, where.revision)
            where = replace(where, unfollowed=sorted(known), revision=revision)
            yield self._step([found[digest] for digest in some], where)[1]
        if len(rows) > _NOT_FOLLOWED:
            raise SourceDataError(
                f"{self.source}: more than {_NOT_FOLLOWED} rows have no {self.key}, or no {self.updated_at} that "
                "is plausible: only the first of them are read. Set both in every row, or use mode = 'diff'"
            )

    def _step(self, changed: Sequence[Row], where: _Cursor) -> tuple[Mapper, Poll]:
        """Read the whole slots of the changed rows, since one row does not show everything that a slot holds."""
        wanted = {(o.subject.id, o.relation) for o in self.mapped(changed).observations(0, self.began)}
        subjects = {text: row[self.subject] for row in changed if (text := _usable(row[self.subject]))}
        values = [subjects[text] for text in sorted(subjects)]
        rows = [row for row in changed if _usable(row[self.subject]) is None]  # to be rejected, and counted
        for start in range(0, len(values), _SUBJECTS_IN_QUERY):
            some = bind_all(values[start : start + _SUBJECTS_IN_QUERY])
            rows += self.table.rows(self.columns, _column(self.subject).in_(some))
        mapper = self.mapped(rows)
        observations = mapper.observations(where.revision, self.began)
        reject = report_rejects(self.source, mapper, require_one=False)
        whole = tuple(o for o in observations if (o.subject.id, o.relation) in wanted)
        return mapper, Poll(whole, where.dump(), rejected=mapper.rejected, reject=reject)

    def _id(self, row: Row) -> str:
        return _text(row[self.key]) or ""


@dataclass
class _Seen:
    """Rows that were delivered: key → when they changed, and the digest of what they held."""

    rows: dict[str, tuple[datetime, str]]

    @classmethod
    def of(cls, where: _Cursor) -> _Seen:
        high = instant(where.high) if where.high else EARLIEST
        return cls({key: (high, digest) for key, digest in where.seen.items()})

    def has(self, key: str, digest: str) -> bool:
        return key in self.rows and self.rows[key][1] == digest

    def add(self, key: str, digest: str, at: datetime) -> None:
        self.rows[key] = at, digest

    def since(self, at: datetime) -> dict[str, str]:
        """The rows that a cursor stores: older ones are dropped, and all of them if there are too many."""
        self.rows = {key: held for key, held in self.rows.items() if held[0] >= at}
        few = len(self.rows) <= _SEEN_IN_CURSOR
        return {key: digest for key, (_, digest) in self.rows.items()} if few else {}


def _ahead_of_utc(text: str) -> timedelta:
    """The UTC offset of the time zone in a text; zero if there is none, or if the text is not a time."""
    local, at = _instant(_ZONE.sub("", text)), _instant(text)
    return local - at if local and at else timedelta()


def _column(name: str) -> sa.ColumnClause[Any]:
    return sa.column(name)


def _digest(row: Row) -> str:
    cells = {
        name: [_text(item) for item in cell] if isinstance(cell, list) else _text(cell)
        for name, cell in row.items()
    }
    return hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest()[:12]


def _text(cell: object) -> str | None:
    """The cell's text, or why it has none: equal cells have equal ones."""
    try:
        return text_of(cell, "cell")
    except SourceDataError as error:
        return str(error)


def _usable(cell: object) -> str | None:
    """The cell's text; None where it has none."""
    try:
        return text_of(cell, "cell")
    except SourceDataError:
        return None  # its row is rejected where it is mapped


def _is_time(cell: object) -> bool:
    return isinstance(cell, datetime) or (isinstance(cell, str) and _instant(cell) is not None)


def _instant(text: str | None) -> datetime | None:
    try:
        return instant(text or "")
    except SourceDataError:
        return None  # its row is rejected where it is mapped


def _no_time(value: object) -> SourceDataError:
    return SourceDataError(f"updated_at holds {shown(value)}; keyset mode needs timestamps or ISO 8601 texts")


def _back(at: datetime, overlap: timedelta) -> datetime:
    """`at` less the overlap, as far as a datetime can go."""
    return at - overlap if at - EARLIEST > overlap else EARLIEST
