"""Reading rows of a table, a view or a query through SQLAlchemy, with our errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from connectors.border import escaped, shown
from connectors.errors import SourceDataError, SourceRefused, SourceSettingsError, SourceUnavailable
from connectors.rows.columns import Row
from connectors.rows.sql_values import as_type, bind_all, read_everything

_FETCH = 500
"""Rows held at once while streaming."""
_CONNECT_S = "10"
"""Seconds in which PostgreSQL has to answer, unless the URL says otherwise."""


class Table:
    """Rows as mappings, by column name."""

    def __init__(self, source: str, url: str, table: str | None, query: str | None, directory: Path) -> None:
        self._source = source
        self._url = _anchored(source, url, directory)
        try:
            self._engine = sa.create_engine(self._url, pool_pre_ping=True)
        except (exc.ArgumentError, ImportError) as error:
            raise SourceSettingsError(f"sources.{source}.url: {error}; is the driver installed?") from error
        read_everything(self._engine)
        self._from: sa.FromClause
        if table is not None:
            schema, _, name = table.rpartition(".")
            self._from = sa.table(name, schema=schema or None)
        else:
            # As a derived table, so that conditions can be put on a query of any shape.
            self._from = sa.text((query or "").strip().rstrip(";")).columns().subquery("source")
        self._examples: dict[str, Any] = {}
        self._by_spelling: set[str] = set()

    def columns(self) -> list[str]:
        """The names of the columns.

        Raises SourceDataError if two have one name; besides, what `rows` raises.
        """
        with self._connection() as connection:
            result = connection.execute(sa.select(sa.text("*")).select_from(self._from).limit(0))
            names = [column[0] for column in result.cursor.description] if result.cursor else []
        if twice := sorted(name for name, count in Counter(names).items() if count > 1):
            raise SourceDataError(f"{self._source}: two columns are named {shown(twice[0])}")
        return names

    def rows(
        self,
        columns: Collection[str],
        *conditions: sa.ColumnElement[bool],
        order: Sequence[str] = (),
        limit: int | None = None,
    ) -> Iterator[Row]:
        """These columns of the rows that meet the conditions.

        Raises SourceUnavailable when the database cannot be read, SourceRefused when it does not
        accept the question, SourceDataError for a value that its driver cannot read.
        """
        select: sa.Select[Any] = sa.select(*map(_column, columns)).select_from(self._from).where(*conditions)
        select = select.order_by(*map(_column, order)).limit(limit)
        with self._connection() as connection:
            try:
                result = connection.execution_options(yield_per=_FETCH).execute(select)
                for row in result:
                    yield dict(zip(columns, row, strict=True))
            except (ValueError, ArithmeticError, RecursionError) as error:
                raise SourceDataError(f"{self._source}: a value cannot be read: {escaped(error)}") from error

    def find(
        self, columns: Collection[str], column: str, texts: Sequence[str], limit: int | None = None
    ) -> Iterator[Row]:
        """Rows in which a column holds one of the texts, converted to the column's type.

        Texts that are written differently than the database would write them (padded, other decimals) may be
        missed by this indexed search; `find_spelled` finds them.
        """
        if column not in self._examples:
            row = next(self.rows([column], _column(column).is_not(None), limit=1), None)
            if row is None:
                return  # nothing is held, and the type is not known yet
            self._examples[column] = row[column]
        if column not in self._by_spelling:
            values = bind_all(as_type(self._examples[column], texts))
            try:
                yield from self.rows(columns, _column(column).in_(values), limit=limit)
            except SourceRefused:  # of a type, such as an enumeration, that not every text is a value of
                self._by_spelling.add(column)
            else:
                return
        yield from self.find_spelled(columns, column, texts, limit)

    def find_spelled(
        self, columns: Collection[str], column: str, texts: Sequence[str], limit: int | None = None
    ) -> Iterator[Row]:
        """As `find`, but compares the text form of the values: for every type, and without an index."""
        spelled = sa.func.trim(sa.cast(_column(column), sa.Text))
        return self.rows(columns, spelled.in_(list(texts)), limit=limit)

    def maximum(self, column: str, *conditions: sa.ColumnElement[bool]) -> Any:
        """The greatest value of a column; None if there is none."""
        select: sa.Select[Any] = sa.select(sa.func.max(_column(column))).select_from(self._from)
        with self._connection() as connection:
            return connection.execute(select.where(*conditions)).scalar()

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        # Drivers take a password as a parameter, too.
        where = self._url.set(query={}).render_as_string(hide_password=True)
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
        """Require SQLite's file, because SQLite would create a missing database and then find it empty."""
        database = self._url.database
        if self._url.get_backend_name() == "sqlite" and database and not Path(database).exists():
            raise SourceUnavailable(f"{self._source}: there is no database file {database}")


def _column(name: str) -> sa.ColumnClause[Any]:
    return sa.column(name)


def _anchored(source: str, url: str, directory: Path) -> sa.URL:
    """The URL, a relative SQLite path made absolute against `directory`."""
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError) as error:
        raise SourceSettingsError(f"sources.{source}.url: {error}") from error
    backend = parsed.get_backend_name()
    if backend == "sqlite" and parsed.database:
        return parsed.set(database=(directory / parsed.database).as_posix())
    if backend == "postgresql" and "connect_timeout" not in parsed.query:
        return parsed.update_query_dict({"connect_timeout": _CONNECT_S})
    return parsed


def _reason(error: exc.SQLAlchemyError) -> str:
    lines = f"{getattr(error, 'orig', None) or error}".strip().splitlines()
    return escaped(lines[0]) if lines else type(error).__name__
