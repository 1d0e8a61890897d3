"""Reading rows of a table, a view or a query through SQLAlchemy, with our errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from connectors.errors import SourceRefused, SourceSettingsError, SourceUnavailable

_FETCH = 2_000
"""Rows held at once while streaming."""


class Table:
    """Rows as mappings, by column name."""

    def __init__(self, source: str, url: str, table: str | None, query: str | None, directory: Path) -> None:
        self._source = source
        self._url = _anchored(source, url, directory)
        try:
            self._engine = sa.create_engine(self._url, pool_pre_ping=True)
        except (exc.ArgumentError, ImportError) as error:
            raise SourceSettingsError(f"sources.{source}.url: {error}; is the driver installed?") from error
        self._from: sa.FromClause
        if table is not None:
            schema, _, name = table.rpartition(".")
            self._from = sa.table(name, schema=schema or None)
        else:
            # As a derived table, so that conditions can be put on a query of any shape.
            self._from = sa.text((query or "").strip().rstrip(";")).columns().subquery("source")
        self._types: dict[str, type] = {}

    def rows(
        self,
        where: Mapping[str, Sequence[Any]] | None = None,
        condition: sa.ColumnElement[bool] | None = None,
        order: Sequence[str] = (),
        limit: int | None = None,
    ) -> Iterator[Mapping[str, Any]]:
        """Rows whose columns hold one of the given values and that meet the condition.

        Raises SourceUnavailable when the database cannot be read, SourceRefused when it does not
        accept the question.
        """
        if where and not all(where.values()):
            return
        select = sa.select(sa.text("*")).select_from(self._from)
        for name, values in (where or {}).items():
            select = select.where(sa.column(name).in_(values))
        if condition is not None:
            select = select.where(condition)
        select = select.order_by(*(sa.column(name) for name in order))
        with self._connection() as connection:
            result = connection.execution_options(yield_per=_FETCH).execute(select.limit(limit))
            for row in result.mappings():
                yield dict(row)

    def latest(self, column: str) -> Any:
        """The greatest value of a column; None in an empty table."""
        select: sa.Select[Any] = sa.select(sa.func.max(sa.column(column))).select_from(self._from)
        with self._connection() as connection:
            return connection.execute(select).scalar()

    def as_stored(self, column: str, texts: Sequence[str]) -> list[Any]:
        """The texts in the type that the column holds: databases with strict types compare no others.

        None of them while the column holds nothing.
        """
        if column not in self._types:
            held: sa.ColumnClause[Any] = sa.column(column)
            row = next(self.rows(condition=held.is_not(None), limit=1), None)
            if row is None:
                return []
            self._types[column] = type(row[column])
        if self._types[column] is int:
            return [int(text) for text in texts if text.lstrip("-").isdecimal()]
        return list(texts)

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        where = self._url.render_as_string(hide_password=True)
        self._require_file()
        try:
            with self._engine.connect() as connection:
                yield connection
        except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as error:
            if "no such" in str(error):  # SQLite's word for a missing table or column
                raise SourceRefused(f"{self._source}: {where}: {_reason(error)}") from error
            raise SourceUnavailable(f"{self._source}: {where} cannot be read: {_reason(error)}") from error
        except exc.SQLAlchemyError as error:
            raise SourceRefused(f"{self._source}: {where}: {_reason(error)}") from error

    def _require_file(self) -> None:
        """SQLite creates a database that is not there, and then finds it empty."""
        database = self._url.database
        if self._url.get_backend_name() == "sqlite" and database and not Path(database).exists():
            raise SourceUnavailable(f"{self._source}: there is no database file {database}")


def _anchored(source: str, url: str, directory: Path) -> sa.URL:
    """The URL, a relative SQLite path made absolute against `directory`."""
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError as error:
        raise SourceSettingsError(f"sources.{source}.url: {error}") from error
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        parsed = parsed.set(database=str(directory / parsed.database))
    return parsed


def _reason(error: exc.SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]
