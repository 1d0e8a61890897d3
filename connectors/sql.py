"""A table, a view or a query of a database: kind `sql`.

There are two modes.  `diff` reads all rows and compares them with the previous reading.  It is exact,
including removals, and suits up to some hundred thousand rows.  `keyset` follows `updated_at` and a key
and reads only changed rows, for tables of any size.  It cannot see deleted rows, unless they are kept
with an empty object; the scheduled reconcile finds them through `snapshot`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import pydantic
from pydantic import Field

from connectors.current import current_triples
from connectors.durations import Duration
from connectors.errors import ConnectorError, SourceDataError
from connectors.observations import Health, Observation, Poll, Triple
from connectors.rows.columns import Row, require_columns
from connectors.rows.mapping import Mapper, MappingSettings
from connectors.rows.naming import Naming
from connectors.rows.shape import RowShape
from connectors.rows.sql_keyset import KeysetPass
from connectors.rows.sql_keyset import rewound as rewound_rows
from connectors.rows.sql_tables import Table
from connectors.rows.whole_reading import WholeCursor, WholeReading, next_revision
from connectors.rows.whole_reading import rewound as rewound_whole
from connectors.settings import Context, SourceSettings, parse


class SqlSettings(SourceSettings, MappingSettings):
    """One table, view or query."""

    kind: Literal["sql"]
    url: pydantic.SecretStr = Field(
        description="SQLAlchemy URL, such as postgresql+psycopg://user@host/db or sqlite:///crm.db"
    )
    table: str | None = Field(None, description="Table or view, optionally with its schema")
    query: str | None = Field(None, description="SELECT query to read instead of a table")
    mode: Literal["diff", "keyset"] = Field(
        "diff", description="Read all rows and compare, or follow changed rows"
    )
    updated_at: str | None = Field(
        None, description="keyset: the column with the time of a row's last change"
    )
    key: str | None = Field(None, description="keyset: unique column that orders rows with equal times")
    overlap: Duration = Field(
        timedelta(minutes=5), description="keyset: longest time from a change to its commit"
    )
    rows_per_request: int = Field(5_000, ge=1, description="Rows per request")
    slots_per_step: int = Field(400, ge=1, description="Slots committed per step")
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
        self._mapping = _mapping(settings)
        self._naming = Naming(settings.namespace, settings.prefixes)
        self._table = table
        self._context = context
        self._whole = WholeReading(name, settings.slots_per_step, settings.max_vanished)

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        settings, now = self._settings, self._context.clock.now()
        if settings.mode == "diff":
            held = WholeCursor.load(cursor)
            return self._whole.steps(self._mapped(self._rows()), held, now)
        updated_at, key = settings.updated_at or "", settings.key or ""
        return KeysetPass(
            source=self.name,
            table=self._table,
            columns=self._columns(updated_at, key),
            updated_at=updated_at,
            key=key,
            subject=self._column("subject"),
            page=settings.rows_per_request,
            overlap=settings.overlap,
            began=now,
            mapped=self._mapped,
            mapping=self._mapping.digest(),
        ).steps(cursor)

    def rewind(self, cursor: str, to: datetime | None) -> str:
        """The cursor from which what changed since `to` is read again; in mode `diff` everything is."""
        return rewound_whole(cursor) if self._settings.mode == "diff" else rewound_rows(cursor, to)

    def snapshot(self, slots: Iterable[tuple[str, str]]) -> Iterator[Poll]:
        asked = sorted(set(slots))
        for start in range(0, len(asked), self._settings.slots_per_step):
            some = set(asked[start : start + self._settings.slots_per_step])
            yield self._whole.snapshot(self._read(some), some, self._context.clock.now())

    def neighbours(self, relation: str, object_id: str | None, limit: int) -> tuple[Triple, ...]:
        # Some rows no longer have the object as a current value, so more are fetched than requested.
        most = 3 * limit
        rows = self._rows(limit=most) if object_id is None else self._find("object", [object_id], most)
        holders = sorted({o.subject.id for o in self._observed(rows)})
        triples = self._current(o for o in self._about(holders) if o.relation == relation)
        return tuple([triple for triple in triples if object_id in (None, triple.object.id)][:limit])

    def facts_of(self, subject_id: str, limit: int) -> tuple[Triple, ...]:
        return tuple(self._current(self._about([subject_id]))[:limit])

    def check(self) -> Health:
        """Read one row and check that the columns exist."""
        try:
            some = list(self._rows(limit=1))
        except ConnectorError as error:
            return Health(False, str(error), lasting=error.lasting)
        return Health(True, "answers" if some else "answers, but has no rows")

    def close(self) -> None:
        self._table.close()

    def _read(self, slots: set[tuple[str, str]]) -> Mapper:
        """All rows about the slots' subjects; subjects not found are searched for by their text form."""
        column, columns = self._column("subject"), self._columns()
        subjects = self._spellings({subject for subject, _ in slots})
        mapper = self._mapped(self._table.find(columns, column, subjects))
        if missing := {subject for subject, _ in slots - set(mapper.slots)}:
            rows = self._table.find_spelled(columns, column, self._spellings(missing))
            mapper.add_all(enumerate(rows, mapper.rows + 1))
        return mapper

    def _rows(self, limit: int | None = None) -> Iterator[Row]:
        """All rows, with the mapped columns only."""
        return self._table.rows(self._columns(), limit=limit)

    def _find(self, field: str, ids: Sequence[str], limit: int | None = None) -> list[Row]:
        column, columns, texts = self._column(field), self._columns(), self._spellings(ids)
        rows = list(self._table.find(columns, column, texts, limit))
        return rows or list(self._table.find_spelled(columns, column, texts, limit))

    def _columns(self, *more: str) -> list[str]:
        """The mapped columns and `more`, as in the table.  Raises SourceDataError if one is missing."""
        found = self._table.columns()
        shape = RowShape(self._mapping.columns, self._mapping.relation)
        try:
            require_columns(shape.required, found)
        except SourceDataError as error:
            raise SourceDataError(f"{self.name}: the table {error}") from error
        if missing := sorted(set(more) - set(found)):
            raise SourceDataError(
                f"{self.name}: the table has no column {missing[0]}; it has {', '.join(found)}"
            )
        wanted = {*shape.columns.values(), *more}
        return [name for name in found if name in wanted]

    def _column(self, field: str) -> str:
        return self._mapping.columns.get(field, field)

    def _spellings(self, ids: Iterable[str]) -> list[str]:
        return sorted({text for id in ids for text in self._naming.spellings(id)})

    def _about(self, ids: Sequence[str]) -> list[Observation]:
        return self._observed(self._find("subject", ids)) if ids else []

    def _observed(self, rows: Iterable[Row]) -> list[Observation]:
        now = self._context.clock.now()
        return self._mapped(rows).observations(next_revision(now, 0), now)

    def _current(self, observations: Iterable[Observation]) -> list[Triple]:
        return current_triples(observations, self._context.clock.now())

    def _mapped(self, rows: Iterable[Row]) -> Mapper:
        return Mapper(self.name, self._mapping).add_all(enumerate(rows, 1))


def _mapping(settings: SqlSettings) -> MappingSettings:
    """The mapping of rows: `updated_at` is the field `modified`, unless another column is mapped to it."""
    columns = dict(settings.columns)
    if settings.updated_at:
        columns.setdefault("modified", settings.updated_at)
    fields = {name: getattr(settings, name) for name in MappingSettings.model_fields}
    return MappingSettings(**{**fields, "columns": columns})


def connect(name: str, settings: Mapping[str, Any], context: Context) -> SqlConnector:
    """The factory of kind `sql`.  Raises SourceSettingsError."""
    parsed = parse(SqlSettings, name, settings)
    table = Table(name, parsed.url.get_secret_value(), parsed.table, parsed.query, context.directory)
    return SqlConnector(name, parsed, table, context)
