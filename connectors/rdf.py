"""RDF documents, parsed: the triples that are well-formed, and for N-Triples the lines that are not.

Every document comes through here, since the parser itself ends the process on triple terms (RDF 1.2)
that are nested some ten thousand levels deep.
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
"""Triple terms inside each other; nobody nests more than a few."""
_MAX_BAD_LINES = 1_000
"""Lines that do not parse, after which a file is no N-Triples at all."""
Triples = Iterator[tuple[int, ox.Quad | SourceDataError]]
"""Each with its line in N-Triples, else with its number."""


def triples(data: bytes, format: ox.RdfFormat, base: str | None = None) -> Triples:
    """The triples of a document; in N-Triples a line that does not parse is an error in its place.

    Raises SourceDataError, naming the line, when the document as a whole does not parse.
    """
    _require_flat(data, format)
    if format == ox.RdfFormat.N_TRIPLES:
        yield from _lines(data)
    else:
        yield from enumerate(_parsed(data, format, base), 1)


def term_of(value: Any) -> Term:
    """The term of a triple; a triple in its place is a node that nobody can name, like a blank one."""
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
        raise SourceDataError(f"no valid {format.name}: {escaped(why)}") from error


def _lines(data: bytes) -> Triples:
    """Line by line: a parser that has met an error does not say where the next line begins."""
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
                f"no valid {format.name}: triple terms nested over {_MAX_NESTED} levels deep"
            )
