"""Rows as lines of JSON, between the process that parses a file and the one that uses its rows.

    [number, [column, cell, column, cell, …]]     a row
    [number, "why"]                               a line that could not be read
    ["refused", kind, "why"]                      the file as a whole could not be read (last line)
    ["end", rows]                                 all rows were sent (last line)

A cell is a JSON scalar, a list of cells, or an object with one key that names a type.  Nothing but the
types listed here can be built from a line, whatever it holds.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from connectors.border import Unusable
from connectors.errors import AnswerTooLarge, ConnectorError, SourceDataError, SourceSettingsError
from connectors.rows.columns import Numbered
from connectors.terms import Term

MAX_LINE = 64 * 2**20
"""Bytes of one line: a row has a dozen columns, and the longest cell is a list of 500 names."""
_REFUSALS: Mapping[str, type[ConnectorError]] = {
    "data": SourceDataError,
    "large": AnswerTooLarge,
    "settings": SourceSettingsError,
}


class NotALine(ValueError):
    """A line that no process of ours has written."""


class End(Exception):
    """The last line: every row was sent."""

    def __init__(self, rows: int) -> None:
        super().__init__(rows)
        self.rows = rows


def row_line(number: int, row: Mapping[str, Any] | SourceDataError) -> bytes:
    """The line of one row, or of one that could not be read."""
    if isinstance(row, SourceDataError):
        return _line([number, str(row)])
    return _line([number, [part for pair in row.items() for part in pair]])


def end_line(rows: int) -> bytes:
    return _line(["end", rows])


def refusal_line(error: ConnectorError) -> bytes:
    """The last line of a file that cannot be read."""
    kind = next((kind for kind, known in _REFUSALS.items() if type(error) is known), "data")
    return _line(["refused", kind, str(error)])


def numbered(line: bytes) -> Numbered:
    """The row of a line.

    Raises End for the last line, the refusal that a line reports, and NotALine for anything else.
    """
    try:
        parts = _DECODER.decode(line.decode())
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise NotALine(str(error)) from error
    match parts:
        case [int() as number, str() as why] if number >= 0:
            return number, SourceDataError(why)
        case [int() as number, [*cells]] if number >= 0 and len(cells) % 2 == 0:
            names = cells[::2]
            if all(isinstance(name, str) for name in names):
                return number, dict(zip(names, cells[1::2], strict=True))
        case ["refused", str() as kind, str() as why] if kind in _REFUSALS:
            raise _REFUSALS[kind](why)
        case ["end", int() as rows]:
            raise End(rows)
    raise NotALine("a line has none of the forms that there are")


def _line(parts: list[Any]) -> bytes:
    return _ENCODER.encode(parts).encode() + b"\n"


def _encoded(cell: object) -> dict[str, object]:
    """A cell that JSON has no form for."""
    match cell:
        case Term():
            return {"term": [cell.kind, cell.value, cell.datatype, cell.language]}
        case Unusable():
            return {"unusable": [cell.what, cell.kind]}
        case bytes():
            return {"bytes": base64.b64encode(cell).decode()}
        case datetime():
            return {"datetime": cell.isoformat()}
        case date():
            return {"date": cell.isoformat()}
        case time():
            return {"time": cell.isoformat()}
        case timedelta():
            return {"timedelta": [cell.days, cell.seconds, cell.microseconds]}
        case Decimal():
            return {"decimal": str(cell)}
        case UUID():
            return {"uuid": str(cell)}
    return {"unusable": [f"a value of type {type(cell).__name__}", f"of type {type(cell).__name__}"]}


def _decoded(found: dict[str, Any]) -> object:
    ((kind, value),) = found.items()
    if kind not in _DECODED:
        raise NotALine("a cell is of no type that there is")
    return _DECODED[kind](value)


def _term(parts: Any) -> Term:
    kind, value, datatype, language = parts
    optional = (datatype, language)
    if kind not in ("uri", "literal", "bnode", "unusable") or not isinstance(value, str):
        raise NotALine("a term has none of the forms that there are")
    if not all(part is None or isinstance(part, str) for part in optional):
        raise NotALine("a term has none of the forms that there are")
    return Term(kind, value, datatype, language)


def _unusable(parts: Any) -> Unusable:
    what, kind = parts
    return Unusable(str(what), str(kind))


_DECODED: Mapping[str, Callable[[Any], object]] = {
    "term": _term,
    "unusable": _unusable,
    "bytes": lambda value: base64.b64decode(value, validate=True),
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": lambda parts: timedelta(*parts),
    "decimal": Decimal,
    "uuid": UUID,
}
_ENCODER = json.JSONEncoder(default=_encoded, ensure_ascii=True, separators=(",", ":"))
_DECODER = json.JSONDecoder(object_hook=_decoded)
