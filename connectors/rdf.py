"""Parsing of RDF documents: their well-formed triples and, for N-Triples, the lines that do not parse.

Every document is parsed here, because the parser crashes the process on triple terms (RDF 1.2) nested
about ten thousand levels deep.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import pyoxigraph as ox

from connectors.border import escaped
from connectors.errors import SourceDataError
from connectors.terms import Term, well_formed_term

_BRACKETS = re.compile(rb"<<|>>")
_MAX_NESTED = 100
"""Maximum nesting depth of triple terms; real documents nest only a few."""
_MAX_BAD_LINES = 1_000
"""A file with more lines that do not parse is rejected as not N-Triples."""
Triples = Iterator[tuple[int, ox.Quad | SourceDataError]]
"""Triples, each with its line number in N-Triples and its position in other formats."""


def triples(data: bytes, format: ox.RdfFormat, base: str | None = None) -> Triples:
    """Yield the triples of a document; in N-Triples, a line that does not parse yields an error.

    Raises SourceDataError, naming the line, when the document as a whole does not parse.
    """
    _require_flat(data, format)
    if format == ox.RdfFormat.N_TRIPLES:
        yield from _lines(data)
    else:
        yield from enumerate(_parsed(data, format, base), 1)


def term_of(value: Any) -> Term:
    """Convert a term of a triple; a nested triple becomes a blank node, since it has no name."""
    if isinstance(value, ox.NamedNode):
        return well_formed_term("uri", value.value)
    if isinstance(value, ox.Literal):
        return well_formed_term("literal", value.value, value.datatype.value, value.language)
    return well_formed_term("bnode", value.value if isinstance(value, ox.BlankNode) else "")


def _parsed(data: bytes, format: ox.RdfFormat, base: str | None = None) -> Iterator[ox.Quad]:
    try:
        yield from ox.parse(data, format=format, base_iri=base)
    except (SyntaxError, ValueError) as error:
        why = str(error).replace("at line 1 ", "") if format == ox.RdfFormat.N_TRIPLES else str(error)
        raise SourceDataError(f"not valid {format.name}: {escaped(why)}") from error


def _lines(data: bytes) -> Triples:
    """Parse line by line, because the parser cannot resume at the next line after an error."""
    bad = 0
    for number, line in enumerate(io.BytesIO(data), 1):
        try:
            for triple in _parsed(line, ox.RdfFormat.N_TRIPLES):
                yield number, triple
        except SourceDataError as error:
            bad += 1
            if bad > _MAX_BAD_LINES:
                raise SourceDataError(f"more than {_MAX_BAD_LINES} lines do not parse; {error}") from error
            yield number, error


def _require_flat(data: bytes, format: ox.RdfFormat) -> None:
    depth = 0
    for bracket in _BRACKETS.finditer(data):
        depth = depth + 1 if bracket[0] == b"<<" else max(0, depth - 1)
        if depth > _MAX_NESTED:
            raise SourceDataError(
                f"not valid {format.name}: triple terms nested over {_MAX_NESTED} levels deep"
            )
