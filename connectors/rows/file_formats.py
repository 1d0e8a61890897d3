"""Rows of one file, whatever its format, each with the line that it stands on.

    .jsonl             one JSON object a line
    .csv               RFC 4180, UTF-8, with a header
    .nt .ttl           RDF: a query's rows, or plain triples (row numbers instead of lines)
    .parquet           needs the `parquet` extra (row numbers instead of lines)

All but Parquet may be compressed (`.gz`).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pyoxigraph as ox

from connectors.errors import SourceDataError, SourceSettingsError
from connectors.local_graph import LocalGraph
from connectors.namespaces import Namespaces
from connectors.rows.shape import Row

RDFS_LABEL = "http://www.w3.org/2000/01/rdf-schema#label"
RDF_TYPE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
Numbered = tuple[int, Row | SourceDataError]
"""A line and its row, or why it has none."""

_RDF = {".nt": ox.RdfFormat.N_TRIPLES, ".ttl": ox.RdfFormat.TURTLE}


def plain_triples(namespaces: Namespaces, relations: Iterable[str]) -> str:
    """A query for files that state `subject relation object` plainly, in the given relations (all if none)."""
    iris = " ".join(
        f"<{namespaces.expand(relation)}>" for relation in relations if namespaces.knows(relation)
    )
    return f"""SELECT ?subject ?relation ?object ?subject_label ?object_label WHERE {{
  {f"VALUES ?relation {{ {iris} }}" if iris else ""}
  ?subject ?relation ?object . FILTER(?relation NOT IN (<{RDFS_LABEL}>, <{RDF_TYPE}>))
  OPTIONAL {{ ?subject <{RDFS_LABEL}> ?subject_label }}
  OPTIONAL {{ ?object <{RDFS_LABEL}> ?object_label }}
}}"""


def suffix_of(name: str) -> str:
    """`.csv` of `people.csv.gz`."""
    return Path(name.removesuffix(".gz")).suffix.lower()


def rows_of(path: Path, data: bytes, query: str) -> Iterator[Numbered]:
    """The rows of a file whose bytes are `data`.

    Raises SourceDataError when the file as a whole cannot be read; a line that cannot is yielded as one.
    """
    if path.name.endswith(".gz"):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise SourceDataError(f"{path}: no whole gzip file: {error}") from error
    suffix = suffix_of(path.name)
    if suffix in _RDF:
        return _rdf(path, data, query)
    return _READERS[suffix](path, data)


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceDataError(f"{path}: not UTF-8 at byte {error.start}") from error


def _jsonl(path: Path, data: bytes) -> Iterator[Numbered]:
    for number, line in enumerate(_text(path, data).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            yield number, SourceDataError(f"no valid JSON: {error}")
            continue
        yield number, row if isinstance(row, dict) else SourceDataError("no JSON object")


def _csv(path: Path, data: bytes) -> Iterator[Numbered]:
    reader = csv.reader(io.StringIO(_text(path, data), newline=""), strict=True)
    header: list[str] | None = None
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise SourceDataError(f"{path}: line {reader.line_num}: {error}") from error
        if cells is None:
            return
        if not cells:
            continue
        if header is None:
            header = [name.strip() for name in cells]
        elif len(cells) == len(header):
            yield reader.line_num, dict(zip(header, cells, strict=True))
        else:
            yield reader.line_num, SourceDataError(f"{len(cells)} cells under a header of {len(header)}")


def _rdf(path: Path, data: bytes, query: str) -> Iterator[Numbered]:
    graph = LocalGraph()
    try:
        graph.load(data, _RDF[suffix_of(path.name)])
    except SourceDataError as error:
        raise SourceDataError(f"{path}: {error}") from error

    for number, solution in enumerate(graph.select(query), 1):
        yield number, {"object": None} | solution


def _parquet(path: Path, data: bytes) -> Iterator[Numbered]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise SourceSettingsError(f"{path}: Parquet needs `pip install kbsync[parquet]`") from error
    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(data))
        number = 0
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except pyarrow.ArrowException as error:
        raise SourceDataError(f"{path}: {error}") from error


_READERS: Mapping[str, Callable[[Path, bytes], Iterator[Numbered]]] = {
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".parquet": _parquet,
}
SUFFIXES = frozenset((*_READERS, *_RDF))
