"""An in-memory graph that answers SPARQL queries over RDF files and entity data."""

from __future__ import annotations

from collections.abc import Iterable

import pyoxigraph as ox

from connectors import rdf
from connectors.border import escaped
from connectors.errors import AnswerTooLarge, SourceDataError
from connectors.terms import Solution

MAX_TRIPLES = 2_000_000
"""Maximum number of triples; each takes several hundred bytes in memory."""
MAX_SOLUTIONS = 1_000_000
"""Maximum solutions of one query: a few thousand triples can produce billions."""


class LocalGraph:
    """Triples of one or more RDF documents."""

    def __init__(self, max_triples: int = MAX_TRIPLES, max_solutions: int = MAX_SOLUTIONS) -> None:
        self._max_triples = max_triples
        self._max_solutions = max_solutions
        self._store = ox.Store()

    def load(self, data: bytes, format: ox.RdfFormat, base: str | None = None) -> None:
        """Add a document.

        Raises SourceDataError, naming the line, if it does not parse, and AnswerTooLarge if it has more
        than `max_triples` triples.
        """
        found = []
        for _, triple in rdf.triples(data, format, base):
            if isinstance(triple, SourceDataError):
                raise triple
            found.append(triple)
            if len(found) > self._max_triples:
                raise AnswerTooLarge(f"more than {self._max_triples} triples in one document")
        self.extend(found)

    def extend(self, triples: Iterable[ox.Quad]) -> None:
        """Add triples."""
        self._store.bulk_extend(triples)

    def select(self, query: str, *, splittable: bool = False) -> list[Solution]:
        """Solutions of a SELECT query, in the form that `SparqlClient.select` returns.

        Raises SourceDataError for an invalid query, and AnswerTooLarge beyond `max_solutions`.
        """
        try:
            found = self._store.query(query)
        except (SyntaxError, ValueError) as error:
            raise SourceDataError(f"the query is not valid SPARQL: {escaped(error)}") from error
        if not isinstance(found, ox.QuerySolutions):
            raise SourceDataError("the query is not a SELECT query")
        names = [variable.value for variable in found.variables]
        solutions: list[Solution] = []
        for row in found:
            if len(solutions) == self._max_solutions:
                raise AnswerTooLarge(
                    f"the query finds more than {self._max_solutions} solutions in one document"
                )
            solutions.append({name: rdf.term_of(term) for name in names if (term := row[name]) is not None})
        return solutions
