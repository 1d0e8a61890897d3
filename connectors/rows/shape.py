"""The schema of a row: its fields, what each may hold, and errors that name them.

A row is one statement, as a mapping of columns to cells.  Cells have whatever type the format or the
database driver returns: texts, numbers, instants, bytes, RDF terms.  All of them are validated by
`connectors.border`, so what a `StatementRow` holds can be stored and compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, TypeVar

import pydantic
from pydantic import ConfigDict, PlainValidator, ValidationInfo
from pydantic_core import PydanticCustomError

from connectors.border import shown, text_of, well_formed, whole_number
from connectors.dates import EARLIEST, LATEST, Interval, instant, interval
from connectors.errors import SourceDataError
from connectors.observations import Rank
from connectors.rows.columns import MAX_NAMES, Row, require_columns
from connectors.rows.typed_literals import literal_value
from connectors.terms import Term

T = TypeVar("T")
_RANKS: Mapping[str, Rank] = {"preferred": "preferred", "normal": "normal", "deprecated": "deprecated"}
_FOR_EVER = ("infinity", "-infinity")
"""PostgreSQL's dates without end or beginning."""
_ZERO_DATE = re.compile(r"0000-00-00(?:[T ]00:00(?::00(?:\.0+)?)?)?Z?")
"""How MySQL writes that there is no date."""


class Iri(str):
    """The IRI of a graph node, as opposed to plain text."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Name:
    """A label with its language tag (BCP 47), if the source gives one."""

    text: str
    language: str = ""


def _field(convert: Callable[[object, str], T]) -> PlainValidator:
    """`convert(cell, what)` as a validator whose errors pydantic collects; `what` names the field."""

    def validate(cell: object, info: ValidationInfo) -> T:
        field = info.field_name or ""
        column = (info.context or {}).get(field, field)
        what = field if column == field else f"{field} (column {shown(column)})"
        try:
            return convert(cell, what)
        except SourceDataError as error:
            raise PydanticCustomError("cell", "{reason}", {"reason": str(error)}) from error

    return PlainValidator(validate)


def _text(cell: object, what: str) -> str | None:
    if isinstance(cell, Term):
        if cell.kind == "unusable":
            raise SourceDataError(f"{what}: {cell.value}")
        if cell.kind == "literal":
            return _text(literal_value(cell), what)
        cell = None if cell.kind == "bnode" else cell.value
    text = text_of(cell, what)
    return text.strip() or None if text is not None else None


def _id(cell: object, what: str) -> str | None:
    """A node of a graph, or the text of a bare id.  A blank node has no id."""
    text = _text(cell, what)
    return Iri(text) if text and isinstance(cell, Term) and cell.kind == "uri" else text


def _subject(cell: object, what: str) -> str:
    if id := _id(cell, what):
        return id
    raise SourceDataError(f"no {what}")


def _name(cell: object, what: str) -> Name | None:
    text = _text(cell, what)
    language = cell.language or "" if isinstance(cell, Term) else ""
    return Name(text, well_formed(language, f"the language of {what}", 40)) if text else None


def _names(cell: object, what: str) -> tuple[Name, ...]:
    """A list of texts, or one text with `|` between the names."""
    if not isinstance(cell, list | tuple):
        name = _name(cell, what)
        parts = name.text.split("|") if name else []
        language = name.language if name else ""
    elif not all(isinstance(item, str) for item in cell):
        raise SourceDataError(f"{what} is {shown(cell)}, not a list of strings")
    else:
        parts, language = [well_formed(item, what) for item in cell], ""
    if len(parts) > MAX_NAMES:
        raise SourceDataError(f"{what} has {len(parts)} names; at most {MAX_NAMES} are read")
    return tuple(Name(stripped, language) for part in parts if (stripped := part.strip()))


def _rank(cell: object, what: str) -> Rank:
    rank = (_text(cell, what) or "normal").lower()
    if rank not in _RANKS:
        raise SourceDataError(f"{what} is {shown(rank)}; it can be {', '.join(_RANKS)}")
    return _RANKS[rank]


def _date(text: str, what: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except SourceDataError as error:
        raise SourceDataError(f"{what}: {error}") from error


def _date_text(cell: object, what: str) -> str | None:
    text = _text(cell, what)
    return None if text is None or _ZERO_DATE.fullmatch(text) else text


def _modified(cell: object, what: str) -> datetime | None:
    text = _date_text(cell, what)
    return _date(text, what, instant) if text else None


def _start(cell: object, what: str) -> Interval | None:
    text = _date_text(cell, what)
    if text in _FOR_EVER:
        return Interval.at(LATEST) if text == "infinity" else None
    return _date(text, what, interval) if text else None


def _end(cell: object, what: str) -> Interval | None:
    """The last day of the calendar is how databases write "no end"."""
    text = _date_text(cell, what)
    if text in _FOR_EVER:
        return Interval.at(EARLIEST) if text == "-infinity" else None
    ends = _date(text, what, interval) if text else None
    return None if ends is None or ends.past.date() >= LATEST.date() else ends


def _count(cell: object, what: str) -> int:
    return whole_number(_text(cell, what) or "0", what)


class StatementRow(pydantic.BaseModel):
    """One statement as a row holds it; ids are as written, texts are stripped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: Annotated[str, _field(_subject)]
    relation: Annotated[str | None, _field(_id)] = None
    object: Annotated[str | None, _field(_id)] = None
    subject_label: Annotated[Name | None, _field(_name)] = None
    object_label: Annotated[Name | None, _field(_name)] = None
    subject_aliases: Annotated[tuple[Name, ...], _field(_names)] = ()
    object_aliases: Annotated[tuple[Name, ...], _field(_names)] = ()
    statement: Annotated[str | None, _field(_text)] = None
    rank: Annotated[Rank, _field(_rank)] = "normal"
    start: Annotated[Interval | None, _field(_start)] = None
    end: Annotated[Interval | None, _field(_end)] = None
    references: Annotated[int, _field(_count)] = 0
    modified: Annotated[datetime | None, _field(_modified)] = None


FIELDS = tuple(StatementRow.model_fields)
"""The fields of a row; `subject` and `object` are required columns."""


class RowShape:
    """Reads rows of one source, whose columns may have other names than the fields."""

    def __init__(self, columns: Mapping[str, str], relation: str | None) -> None:
        """`columns`: field → column.  Rows need a relation of their own if `relation` is None."""
        self.columns: Mapping[str, str] = {field: columns.get(field, field) for field in FIELDS}
        fields = {"subject", "object", *columns} | (set() if relation else {"relation"})
        self.required = frozenset(self.columns[field] for field in fields)

    def read(self, row: Row) -> StatementRow:
        """The row in its shape.  Raises SourceDataError naming each field that is wrong."""
        if not self.required <= row.keys():
            require_columns(self.required, row.keys())
        return self._read(row, FIELDS)

    def read_slot(self, row: Row) -> tuple[str, str | None]:
        """Subject and relation of a row whose other fields may be wrong.  Raises SourceDataError."""
        read = self._read(row, ("subject", "relation"))
        return read.subject, read.relation

    def _read(self, row: Row, fields: Iterable[str]) -> StatementRow:
        cells = {field: cell for field in fields if (cell := row.get(self.columns[field])) is not None}
        try:
            return StatementRow.model_validate({"subject": None, **cells}, context=self.columns)
        except pydantic.ValidationError as error:
            raise SourceDataError("; ".join(wrong["msg"] for wrong in error.errors())) from None
