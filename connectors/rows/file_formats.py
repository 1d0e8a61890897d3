"""Rows of one file in any supported format, each with its line number.

    .jsonl .ndjson     one JSON object per line
    .csv               RFC 4180, UTF-8, with a header
    .nt .ttl           RDF: a query's solutions, or plain triples (N-Triples by line, else numbered)
    .parquet           needs the `parquet` extra (row numbers instead of lines)

All may be compressed (`.gz`).
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import pyoxigraph as ox

from connectors import rdf
from connectors.border import escaped
from connectors.errors import SourceDataError
from connectors.rows.parquet_rows import parquet_rows
from connectors.rows.rdf_rows import plain_rows, query_rows
from connectors.rows.shape import Numbered, Shape
from connectors.rows.text_formats import csv_rows, json_lines

_RDF = {".nt": ox.RdfFormat.N_TRIPLES, ".ttl": ox.RdfFormat.TURTLE}
_TEXT: Mapping[str, Callable[[bytes, Shape], Iterator[Numbered]]] = {
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".csv": csv_rows,
}
SUFFIXES = frozenset((*_TEXT, *_RDF, ".parquet"))


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

    def rows(self, name: str, data: bytes, shape: Shape) -> Iterator[Numbered]:
        """The rows of a file called `name` whose bytes are `data`.

        Raises SourceDataError when the file as a whole cannot be read; a line that cannot is yielded as one.
        """
        if name.lower().endswith(".gz"):
            data = _unpacked(data, self.max_bytes)
        suffix = suffix_of(name)
        if suffix in _RDF:
            return self._rdf(data, _RDF[suffix])
        if suffix == ".parquet":
            return parquet_rows(data, shape, self.max_bytes)
        return _TEXT[suffix](data, shape)

    def _rdf(self, data: bytes, format: ox.RdfFormat) -> Iterator[Numbered]:
        def read() -> rdf.Triples:
            return rdf.triples(data, format)

        if self.query is not None:
            return query_rows(read, self.query)
        return plain_rows(read, self.relations, self.languages, self.max_rows)


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
        raise SourceDataError(f"no whole gzip file: {escaped(error)}") from error
    if len(unpacked) > most:
        raise SourceDataError(f"unpacks to more than {most} bytes; split it, or raise `max_bytes`")
    return bytes(unpacked)
