"""Following a table by (updated_at, key): only what changed is read.

Three things make this lose nothing.  Rows of one instant are ordered by key, so a page boundary
between them is no gap.  A pass ends at the newest row that there was when it began.  And each pass
looks back by an overlap before the last one's end, for transactions that stamped a row early and
committed late; rows that are exactly as they were delivered are passed over.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from connectors.cursors import dump_cursor, load_cursor
from connectors.dates import instant
from connectors.errors import SourceDataError
from connectors.observations import Poll
from connectors.rows.mapping import Mapper
from connectors.rows.sql_tables import Table
from connectors.rows.whole_reading import next_revision, report_rejects

_FORMAT = 1
_SEEN_IN_CURSOR = 5_000
"""Delivered rows that a cursor remembers; more of them within one overlap are simply read again."""
_SUBJECTS_IN_QUERY = 400
_ZONE = re.compile(r"(Z|[+-]\d\d:?\d\d)$")
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Cursor:
    """Up to which row a table has been followed."""

    high: str | None = None
    """The highest updated_at delivered, as text."""
    seen: Mapping[str, str] = field(default_factory=dict)
    """Key → digest of rows delivered within the overlap before `high`."""
    revision: int = 0

    def dump(self) -> str:
        return dump_cursor(_FORMAT, {"high": self.high, "seen": dict(self.seen), "revision": self.revision})

    @classmethod
    def load(cls, text: str | None) -> _Cursor:
        return load_cursor(text, _FORMAT, cls, (part.name for part in fields(cls)))


@dataclass(frozen=True, kw_only=True)
class KeysetPass:
    """One poll of one table."""

    source: str
    table: Table
    updated_at: str
    key: str
    subject: str
    page: int
    overlap: timedelta
    now: Callable[[], datetime]
    mapped: Callable[[Iterable[Row]], Mapper]

    def steps(self, cursor: str | None) -> Iterator[Poll]:
        """Each with the cursor that covers it.  Raises the ConnectorError tree."""
        where = _Cursor.load(cursor)
        ceiling = self.table.latest(self.updated_at)
        if ceiling is None:
            return
        _text(ceiling)  # refuses what is no time before anything is compared with it
        at: sa.ColumnClause[Any] = sa.column(self.updated_at)
        up_to = at <= ceiling
        seen: dict[str, tuple[datetime, str]] = {}
        condition: sa.ColumnElement[bool] = up_to
        if where.high is not None:
            seen = {key: (instant(where.high), digest) for key, digest in where.seen.items()}
            condition = sa.and_(up_to, at >= _bound(where.high, self.overlap, ceiling))
        while rows := list(self.table.rows(None, condition, (self.updated_at, self.key), self.page)):
            last = rows[-1]
            changed = [row for row in rows if seen.get(str(row[self.key]), ("", ""))[1] != _digest(row)]
            seen |= {str(row[self.key]): (instant(_text(row[self.updated_at])), _digest(row)) for row in rows}
            high = _text(last[self.updated_at])
            seen = {key: told for key, told in seen.items() if told[0] >= _back(high, self.overlap)}
            few = {key: digest for key, (_, digest) in seen.items()} if len(seen) <= _SEEN_IN_CURSOR else {}
            where = _Cursor(high, few, next_revision(self.now(), where.revision))
            if changed:
                yield self._step(changed, where)
            after = sa.or_(
                at > last[self.updated_at],
                sa.and_(at == last[self.updated_at], sa.column(self.key) > last[self.key]),
            )
            condition = sa.and_(up_to, after)

    def _step(self, changed: Sequence[Row], where: _Cursor) -> Poll:
        """The whole slots that the changed rows belong to: a row alone is not what the slot holds."""
        wanted = {(o.subject.id, o.relation) for o in self.mapped(changed).observations(0, self.now())}
        subjects = sorted({row[self.subject] for row in changed if row[self.subject] is not None}, key=str)
        rows: list[Row] = []
        for start in range(0, len(subjects), _SUBJECTS_IN_QUERY):
            rows += self.table.rows({self.subject: subjects[start : start + _SUBJECTS_IN_QUERY]})
        mapper = self.mapped(rows)
        observations = mapper.observations(where.revision, self.now())
        report_rejects(self.source, mapper)
        told = tuple(o for o in observations if (o.subject.id, o.relation) in wanted)
        return Poll(told, where.dump())


def _digest(row: Row) -> str:
    told = json.dumps({name: str(value) for name, value in row.items()}, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str):
        return value
    raise SourceDataError(f"updated_at holds {value!r}; keyset mode needs timestamps or ISO 8601 texts")


def _back(high: str, overlap: timedelta) -> datetime:
    return instant(high) - overlap


def _bound(high: str, overlap: timedelta, example: Any) -> Any:
    """`high` less the overlap, in the form of the column, so that comparing means comparing time.

    Texts are compared as texts, so the zone that they all share is left out of the reckoning.
    """
    if isinstance(example, str):
        separator = "T" if "T" in example else " "
        return _back(_ZONE.sub("", high), overlap).strftime(f"%Y-%m-%d{separator}%H:%M:%S")
    at = _back(high, overlap)
    return at if example.tzinfo else at.replace(tzinfo=None)
