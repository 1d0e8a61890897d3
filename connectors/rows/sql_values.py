"""Conversion of database values: values that a driver cannot read, and ids in a column's own type.

A driver that raises in the middle of a result makes the whole table unreadable.  So PostgreSQL's
`infinity` and dates beyond the calendar become its ends, SQLite's text that is not UTF-8 keeps its bytes
as lone surrogates, and JSON that cannot be read is `Unusable`: `connectors.border` then judges the row.
So are PostgreSQL's types whose text is a notation and nobody's label: `(1,2)`, `{a,b}`, `[1,5)`, `1 day`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from connectors.border import Unusable, decode_json
from connectors.errors import SourceDataError

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_WITHOUT_TEXT = """
    SELECT oid, format_type(oid, NULL) FROM pg_catalog.pg_type
    WHERE oid >= 16384 AND (typtype IN ('c', 'r', 'm') OR typcategory = 'A' OR typname = 'hstore')
    OR oid < 16384 AND (typcategory IN ('G', 'T') OR typname IN ('tsvector', 'tsquery'))
"""
"""PostgreSQL's composites, ranges, arrays of types that its driver does not know, shapes and time spans."""


def bind(value: Any) -> sa.BindParameter[Any]:
    """A parameter whose type the database infers from what it is compared with.

    SQLAlchemy would otherwise declare every text as VARCHAR, which PostgreSQL compares with no UUID,
    enumeration or address, and every instant as one without a zone.
    """
    return sa.bindparam(None, value, type_=sa.types.NullType(), unique=True)


def bind_all(values: Iterable[Any]) -> sa.BindParameter[Any]:
    """The same for the values of an IN."""
    return sa.bindparam(None, list(values), type_=sa.types.NullType(), unique=True, expanding=True)


def as_type(example: Any, texts: Iterable[str]) -> list[Any]:
    """The texts as values of `example`'s type; those that are none are left out."""
    convert = _FROM_TEXT.get(type(example))
    if convert is None:
        return list(texts)
    values = []
    for text in texts:
        try:
            values.append(convert(text))
        except (ValueError, ArithmeticError):
            continue  # no value of the column is spelled like this
    return values


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(text)
    return int(text)


_FROM_TEXT: Mapping[type, Callable[[str], Any]] = {
    int: _integer,
    float: float,
    Decimal: Decimal,
    UUID: UUID,
    date: date.fromisoformat,
    datetime: datetime.fromisoformat,
    bytes: str.encode,
    type(ip_address("::1")): ip_address,
    type(ip_address("127.0.0.1")): ip_address,
    type(ip_network("::/8")): ip_network,
    type(ip_network("127.0.0.0/8")): ip_network,
    type(ip_interface("::1/8")): ip_interface,
    type(ip_interface("127.0.0.1/8")): ip_interface,
}


def read_everything(engine: sa.Engine) -> None:
    """Prepares each connection of the engine for values that its driver would not read."""
    prepare = {"psycopg": _prepare_psycopg, "pysqlite": _prepare_sqlite}.get(engine.dialect.driver)
    if prepare is not None:
        sa.event.listen(engine, "connect", lambda connection, _: prepare(connection))


def _prepare_sqlite(connection: Any) -> None:
    connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")


def _prepare_psycopg(connection: Any) -> None:
    """See psycopg's documentation, "Example: handling infinity date"."""
    from psycopg import DataError
    from psycopg.types import datetime as psycopg_dates
    from psycopg.types.json import set_json_loads

    def bounded(base: type, first: Any, last: Any) -> type:
        class Bounded(base):  # type: ignore[misc]
            def load(self, data: Any) -> Any:
                try:
                    return super().load(data)
                except DataError:
                    text = bytes(data)
                    return first if text.startswith(b"-") or text.endswith(b"BC") else last

        return Bounded

    dates = psycopg_dates.DateLoader, date.min, date.max
    naive = psycopg_dates.TimestampLoader, datetime.min, datetime.max
    zoned = (
        psycopg_dates.TimestamptzLoader,
        datetime.min.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
    )
    for name, loader in {"date": dates, "timestamp": naive, "timestamptz": zoned}.items():
        connection.adapters.register_loader(name, bounded(*loader))
    for name in ("time", "timetz"):
        connection.adapters.register_loader(name, _text_loader())
    set_json_loads(_json, connection)
    with connection.cursor() as cursor:
        for oid, name in cursor.execute(_WITHOUT_TEXT).fetchall():
            connection.adapters.register_loader(oid, _refusing_loader(name))
    connection.rollback()


def _text_loader() -> type:
    """24:00 is a time in PostgreSQL and none in Python."""
    from psycopg.types.string import TextLoader

    return TextLoader


def _refusing_loader(type_name: str) -> type:
    from psycopg.adapt import Loader

    class Refusing(Loader):
        def load(self, data: Any) -> Unusable:
            return Unusable("a value", f"of type {type_name}")

    return Refusing


def _json(data: str | bytes) -> Any:
    try:
        return decode_json(data, "JSON")
    except SourceDataError as error:
        return Unusable(str(error))
