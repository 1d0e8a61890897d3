"""A small graph in memory that answers the queries that a SPARQL endpoint would: RDF files, entity data."""

from __future__ import annotations

import pyoxigraph as ox

from connectors.errors import SourceDataError
from connectors.terms import Solution, Term


class LocalGraph:
    """Triples of one or more RDF documents."""

    def __init__(self) -> None:
        self._store = ox.Store()

    def load(self, data: bytes, format: ox.RdfFormat, base: str | None = None) -> None:
        """Add a document.  Raises SourceDataError, naming the line, for one that does not parse."""
        try:
            self._store.load(data, format=format, base_iri=base)
        except (SyntaxError, ValueError) as error:
            raise SourceDataError(f"no valid {format.name}: {error}") from error

    def select(self, query: str, *, splittable: bool = False) -> list[Solution]:
        """Rows of a SELECT query, as `SparqlClient.select` gives them."""
        try:
            found = self._store.query(query)
        except (SyntaxError, ValueError) as error:
            raise SourceDataError(f"the query is not valid SPARQL: {error}") from error
        if not isinstance(found, ox.QuerySolutions):
            raise SourceDataError("the query is no SELECT query")
        names = [variable.value for variable in found.variables]
        return [{name: _term(term) for name in names if (term := row[name]) is not None} for row in found]


def _term(term: object) -> Term:
    if isinstance(term, ox.NamedNode):
        return Term("uri", term.value)
    if isinstance(term, ox.Literal):
        return Term("literal", term.value, term.datatype.value, term.language)
    return Term("bnode", str(term))
