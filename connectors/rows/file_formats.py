"""Rows of one file in any supported format, each with its line number.

    .jsonl .ndjson     one JSON object per line
    .csv               RFC 4180, UTF-8, with a header
    .nt .ttl           RDF: a query's solutions, or plain triples (N-Triples by line, else numbered)
    .parquet           needs the `parquet` extra (row numbers instead of lines)

All may be compressed (`.gz`).  RDF and Parquet are read in a process of their own.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from connectors.border import escaped
from connectors.errors import SourceDataError
from connectors.rows import parsed_files
from connectors.rows.columns import Numbered
from connectors.rows.isolation import Isolation
from connectors.rows.parsed_files import ParseRequest, parsed_rows
from connectors.rows.shape import FIELDS, RowShape
from connectors.rows.text_formats import csv_rows, json_lines

_TEXT: Mapping[str, Callable[[bytes, RowShape], Iterator[Numbered]]] = {
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".csv": csv_rows,
}
SUFFIXES = parsed_files.SUFFIXES | _TEXT.keys()


@dataclass(frozen=True, slots=True)
class FileReader:
    """Reads files of every format, within bounds."""

    query: str | None
    """RDF: a SELECT; None for plain triples."""
    relations: Collection[str]
    """RDF: IRIs of the relations to read from plain triples; if empty, all are read."""
    languages: Sequence[str]
    max_bytes: int
    """Maximum decompressed size of a file."""
    max_rows: int
    isolation: Isolation | None = None
    """Limits of the process that parses an RDF or Parquet file; None parses it in this process."""

    def rows(self, name: str, data: bytes, shape: RowShape) -> Generator[Numbered, None, None]:
        """The rows of a file called `name` whose bytes are `data`; close it to end the process that parses.

        Raises SourceDataError when the file as a whole cannot be read, ReaderDied if that ended the process
        that read it; a line that cannot be read is yielded as an error.
        """
        if name.lower().endswith(".gz"):
            data = _unpacked(data, self.max_bytes)
        suffix = suffix_of(name)
        yield from _TEXT[suffix](data, shape) if suffix in _TEXT else self._parsed(suffix, data, shape)

    def _parsed(self, suffix: str, data: bytes, shape: RowShape) -> Iterator[Numbered]:
        request = ParseRequest(
            suffix,
            wanted=tuple(shape.columns.values()),
            required=tuple(shape.required),
            query=self.query,
            relations=tuple(self.relations),
            languages=tuple(self.languages),
            max_bytes=self.max_bytes,
            max_rows=self.max_rows,
        )
        rows = self.isolation.rows(request, data) if self.isolation else parsed_rows(request, data)
        # A variable that a solution leaves unbound is an empty cell, not a missing column.
        unbound = {} if suffix == ".parquet" or self.query is None else dict.fromkeys(FIELDS)
        for number, row in rows:
            yield number, row if isinstance(row, SourceDataError) else {**unbound, **row}


def suffix_of(name: str) -> str:
    """`.csv` of `people.CSV.gz`."""
    lower = name.lower()
    return PurePath(lower.removesuffix(".gz")).suffix


def _unpacked(data: bytes, most: int) -> bytes:
    unpacked = bytearray()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            while piece := file.read(min(2**20, most + 1 - len(unpacked))):
                unpacked += piece
    except (OSError, EOFError, zlib.error) as error:
        raise SourceDataError(f"not a complete gzip file: {escaped(error)}") from error
    if len(unpacked) > most:
        raise SourceDataError(f"unpacks to more than {most} bytes; split it, or raise `max_bytes`")
    return bytes(unpacked)
