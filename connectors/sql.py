"""A table, a view or a query of a database: kind `sql`.

Two modes.  `diff` reads everything and compares it with what was held: exact, removals included,
and right for up to some hundred thousand rows.  `keyset` follows `updated_at` and a key: it reads what
changed, for tables of any size, and cannot see deleted rows (the scheduled reconcile does, through
`snapshot`), unless they are kept with an empty object.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

import pydantic
from pydantic import Field

from connectors.current import current_triples
from connectors.errors import ConnectorError
from connectors.observations import LITERAL, Health, Observation, Poll, Triple
from connectors.rows.mapping import Mapper, MappingSettings
from connectors.rows.sql_keyset import KeysetPass
from connectors.rows.sql_tables import Table
from connectors.rows.whole_reading import Held, WholeReading, next_revision
from connectors.settings import Context, Duration, SourceSettings, parse


class SqlSettings(SourceSettings, MappingSettings):
    """One table, view or query."""

    kind: Literal["sql"]
    url: str = Field(
        description="SQLAlchemy URL, such as postgresql+psycopg://user@host/db or sqlite:///crm.db"
    )
    table: str | None = Field(None, description="A table or view, with its schema if need be")
    query: str | None = Field(None, description="A SELECT instead of a table")
    mode: Literal["diff", "keyset"] = Field(
        "diff", description="Read everything and compare, or follow changes"
    )
    updated_at: str | None = Field(None, description="keyset: the column that tells when a row changed")
    key: str | None = Field(None, description="keyset: a unique column, which orders rows of one instant")
    overlap: Duration = Field(
        timedelta(minutes=5), ge=timedelta(), description="keyset: longest time from a change to its commit"
    )
    rows_per_request: int = Field(5_000, ge=1, description="Rows read at once")
    slots_per_step: int = Field(400, ge=1, description="Slots committed at once")
    max_vanished: float = Field(0.2, ge=0, le=1, description="diff: share of slots that may vanish at once")

    @pydantic.model_validator(mode="after")
    def _complete(self) -> SqlSettings:
        if (self.table is None) == (self.query is None):
            raise ValueError("give either `table` or `query`")
        if self.mode == "keyset" and not (self.updated_at and self.key):
            raise ValueError("mode = 'keyset' needs `updated_at` and `key`")
        return self


class SqlConnector:
    """Kind `sql`."""

    def __init__(self, name: str, settings: SqlSettings, table: Table, context: Context) -> None:
        self.name = name
        self._settings = settings
        self._table = table
        self._context = context
        self._subject = settings.columns.get("subject", "subject")
        self._object = settings.columns.get("object", "object")
        self._whole = WholeReading(name, settings.slots_per_step, settings.max_vanished)

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        if self._settings.mode == "diff":
            held = Held.load(cursor)
            mapper = self._mapped(self._table.rows())
            return self._whole.steps(mapper, held, self._context.clock.now())
        return KeysetPass(
            source=self.name,
            table=self._table,
            updated_at=self._settings.updated_at or "",
            key=self._settings.key or "",
            subject=self._subject,
            page=self._settings.rows_per_request,
            overlap=self._settings.overlap,
            now=self._context.clock.now,
            mapped=self._mapped,
        ).steps(cursor)

    def snapshot(self, slots: Iterable[tuple[str, str]]) -> Iterator[Poll]:
        asked = sorted(set(slots))
        for start in range(0, len(asked), self._settings.slots_per_step):
            some = set(asked[start : start + self._settings.slots_per_step])
            found = self._mapped(self._rows_of(sorted({subject for subject, _ in some})))
            yield self._whole.snapshot(found, some, self._context.clock.now())

    def neighbours(self, relation: str, object_id: str | None, limit: int) -> tuple[Triple, ...]:
        # Some rows hold the object no longer: look at more than are wanted.
        where = {} if object_id is None else {self._object: self._raw(self._object, [object_id])}
        rows = self._table.rows(where, limit=3 * limit)
        holders = sorted({o.subject.id for o in self._told(rows)})
        triples = self._current(o for o in self._told(self._rows_of(holders)) if o.relation == relation)
        return tuple([triple for triple in triples if object_id in (None, triple.object.id)][:limit])

    def facts_of(self, subject_id: str, limit: int) -> tuple[Triple, ...]:
        return tuple(self._current(self._told(self._rows_of([subject_id])))[:limit])

    def check(self) -> Health:
        try:
            some = list(self._table.rows(limit=1))
        except ConnectorError as error:
            return Health(False, str(error))
        return Health(True, "answers" if some else "answers, and holds no row")

    def close(self) -> None:
        self._table.close()

    def _rows_of(self, ids: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        return self._table.rows({self._subject: self._raw(self._subject, ids)})

    def _raw(self, column: str, ids: Sequence[str]) -> list[Any]:
        """What the column may hold for these ids: with the prefix or, in our namespace, without it."""
        own = f"{self._settings.namespace}:"
        texts = {*ids, *(id.removeprefix(own) for id in ids), *(id.removeprefix(LITERAL) for id in ids)}
        return self._table.as_stored(column, sorted(texts))

    def _told(self, rows: Iterable[Mapping[str, Any]]) -> list[Observation]:
        now = self._context.clock.now()
        return self._mapped(rows).observations(next_revision(now, 0), now)

    def _current(self, observations: Iterable[Observation]) -> list[Triple]:
        return current_triples(observations, self._context.clock.now())

    def _mapped(self, rows: Iterable[Mapping[str, Any]]) -> Mapper:
        mapping = self._settings
        if mapping.updated_at and "modified" not in mapping.columns:
            columns = {**mapping.columns, "modified": mapping.updated_at}
            mapping = mapping.model_copy(update={"columns": columns})
        return Mapper(self.name, mapping).add_all(enumerate(rows, 1))


def connect(name: str, settings: Mapping[str, Any], context: Context) -> SqlConnector:
    """The factory of kind `sql`.  Raises SourceSettingsError."""
    parsed = parse(SqlSettings, name, settings)
    table = Table(name, parsed.url, parsed.table, parsed.query, context.directory)
    return SqlConnector(name, parsed, table, context)
