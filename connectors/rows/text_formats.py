"""Rows of JSON Lines and CSV files, each with the line on which it begins.

A line that cannot be read yields an error in its place, and reading continues with the next line.  Files
are parsed line by line, so memory use is the size of the file plus one line.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator

from connectors.border import decode_json, escaped, shown
from connectors.errors import SourceDataError
from connectors.rows.columns import Numbered, require_columns
from connectors.rows.shape import RowShape

_MAX_LINE = 2**20
"""Bytes of one JSON object."""
_MAX_LINES = 1_000
"""Physical lines of one CSV record: an opening quote that nothing closes takes no more with it."""
_MAX_BAD_RECORDS = 1_000
"""A file with more invalid records is rejected as not CSV."""
_BOM = "\ufeff"
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_WIDE = re.compile(rb"(?:[^\0]\0){2}|(?:\0[^\0]){2}|\0\0\0[^\0]|[^\0]\0\0\0")
"""How ASCII text begins in UTF-16 and UTF-32 without a byte order mark."""
_LONE_RETURN = re.compile(rb"\r(?!\n)")


def json_lines(data: bytes, shape: RowShape) -> Iterator[Numbered]:
    """One JSON object per line (`shape` is checked for each row, since each row names its own columns).

    Raises SourceDataError for UTF-16.
    """
    for number, line in enumerate(io.BytesIO(_with_line_feeds(data)), 1):
        if not line.strip():
            continue
        try:
            row = decode_json(line.strip(), "the line", _MAX_LINE, unique_keys=True)
        except SourceDataError as error:
            yield number, error
            continue
        yield number, row if isinstance(row, dict) else SourceDataError("not a JSON object")


def csv_rows(data: bytes, shape: RowShape) -> Iterator[Numbered]:
    """RFC 4180, UTF-8, with a header.

    Raises SourceDataError for a header that lacks a column, or has one twice, and for what is no CSV.
    """
    records = _Records(_with_line_feeds(data))
    header = next(records, None)
    if header is None:
        return
    names = _header(header[1], shape)
    for number, cells in records:
        if isinstance(cells, SourceDataError):
            yield number, cells
        elif len(cells) != len(names):
            yield number, SourceDataError(f"{len(cells)} cells under a header of {len(names)}")
        else:
            yield number, dict(zip(names, cells, strict=True))


def _with_line_feeds(data: bytes) -> bytes:
    """The text with each line ending in a line feed: old Macintosh programs wrote a carriage return alone.

    Raises SourceDataError for text in UTF-16 or UTF-32, none of whose lines could be read.
    """
    if data.startswith(_WIDE_MARKS) or _WIDE.match(data):
        raise SourceDataError("is text in UTF-16 or UTF-32; save it as UTF-8")
    return _LONE_RETURN.sub(b"\n", data) if b"\r" in data else data


def _header(cells: list[str] | SourceDataError, shape: RowShape) -> list[str]:
    if isinstance(cells, SourceDataError):
        raise SourceDataError(f"the header cannot be read: {cells}")
    names = [name.strip() for name in cells]
    if twice := sorted(name for name, count in Counter(names).items() if name and count > 1):
        raise SourceDataError(f"the header names {shown(twice[0])} twice")
    if len(names) == 1 and len(other := {char for char in ";\t|" if char in names[0]}) == 1:
        raise SourceDataError(
            f"cells are separated by commas in CSV, not by {other.pop()!r} as in {shown(names[0])}"
        )
    require_columns(shape.required, names)
    return names


class _Records:
    """The records of a CSV file with their first lines; blank ones are passed over."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self._line = 0
        self._began = 0
        self._bad = 0
        self._reader = csv.reader(self._lines(), strict=True)

    def __iter__(self) -> _Records:
        return self

    def __next__(self) -> tuple[int, list[str] | SourceDataError]:
        while True:
            start, self._began = self._file.tell(), self._line
            try:
                cells = next(self._reader)
            except csv.Error as error:
                return self._began + 1, self._skip(start, str(error))
            if cells:
                return self._began + 1, self._decoded(cells, start)

    def _lines(self) -> Iterator[str]:
        for line in self._file:
            self._line += 1
            if self._line - self._began > _MAX_LINES:
                raise csv.Error(f"a record of more than {_MAX_LINES} lines; is a quote missing?")
            text = line.decode("utf-8", "surrogateescape")
            yield text.removeprefix(_BOM) if self._line == 1 else text

    def _skip(self, start: int, why: str) -> SourceDataError:
        """Passes over the line on which a record began that is none: the next may begin the next one."""
        self._bad += 1
        if self._bad > _MAX_BAD_RECORDS:
            raise SourceDataError(
                f"line {self._began + 1}: {escaped(why)}; {_MAX_BAD_RECORDS} other records are invalid too"
            )
        self._file.seek(start)
        self._file.readline()
        self._line = self._began + 1
        self._reader = csv.reader(self._lines(), strict=True)
        return SourceDataError(f"not valid CSV: {escaped(why)}")

    def _decoded(self, cells: list[str], start: int) -> list[str] | SourceDataError:
        try:
            "".join(cells).encode()
        except UnicodeEncodeError:
            end = self._file.tell()
            self._file.seek(start)
            return SourceDataError(f"not UTF-8 at byte {start + _first_bad(self._file.read(end - start))}")
        return cells


def _first_bad(data: bytes) -> int:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start
    return 0
