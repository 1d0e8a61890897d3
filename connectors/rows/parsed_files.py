"""Files that a native parser reads: RDF (pyoxigraph) and Parquet (pyarrow).

Damaged bytes can crash such a parser, and with it the process that it runs in.  So kbsync calls
`parsed_rows` in a process of its own (`connectors.rows.isolation`), and this module imports little.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from connectors.rows.columns import Numbered

SUFFIXES = frozenset((".nt", ".ttl", ".parquet"))


@dataclass(frozen=True, slots=True)
class ParseRequest:
    """What to read of one file, in values that JSON holds."""

    suffix: str
    """One of SUFFIXES."""
    wanted: Sequence[str]
    """Parquet: columns to read, of those that are there."""
    required: Sequence[str]
    """Parquet: columns that must be there."""
    query: str | None
    """RDF: a SELECT; None for plain triples."""
    relations: Sequence[str]
    """RDF: IRIs of the relations to read from plain triples; if empty, all are read."""
    languages: Sequence[str]
    """RDF: languages of labels, best first."""
    max_bytes: int
    max_rows: int


def parsed_rows(request: ParseRequest, data: bytes) -> Iterator[Numbered]:
    """The rows of a file.

    Raises SourceDataError when the file as a whole cannot be read, and SourceSettingsError without the
    library that reads it; a line that cannot be read is yielded as an error.
    """
    if request.suffix == ".parquet":
        from connectors.rows.parquet_rows import parquet_rows

        return parquet_rows(data, request.wanted, request.required, request.max_bytes)
    return _triples(request, data)


def _triples(request: ParseRequest, data: bytes) -> Iterator[Numbered]:
    import pyoxigraph as ox

    from connectors import rdf
    from connectors.rows.rdf_rows import plain_rows, query_rows

    format = ox.RdfFormat.N_TRIPLES if request.suffix == ".nt" else ox.RdfFormat.TURTLE

    def read() -> rdf.Triples:
        return rdf.triples(data, format)

    if request.query is not None:
        return query_rows(read, request.query)
    return plain_rows(read, frozenset(request.relations), request.languages, request.max_rows)
