"""A graph that is split over several endpoints, as Wikidata's is into a main and a scholarly one.

Every entity has all its triples in one of the parts, and our queries follow no edge from one subject to the next,
except for `changed_objects`, which the reader asks in two steps here.  So the answers of the parts together are the
answer of the whole.  A part that does not answer fails the query, since half an answer looks like a deletion.
"""

from __future__ import annotations

from collections.abc import Sequence

from connectors.http.sparql_client import SparqlClient
from connectors.terms import Solution


class SplitGraph:
    """Asks every part, and joins the answers."""

    def __init__(self, parts: Sequence[SparqlClient]) -> None:
        self.parts = tuple(parts)

    @property
    def is_split(self) -> bool:
        return len(self.parts) > 1

    @property
    def endpoint(self) -> str:
        """The addresses, for messages."""
        return ", ".join(part.endpoint for part in self.parts)

    def select(self, query: str, *, splittable: bool = False) -> list[Solution]:
        """The solutions of all parts, each once.  Raises the ConnectorError tree."""
        first, *others = (part.select(query, splittable=splittable) for part in self.parts)
        if not others:
            return first
        seen = {_key(row): row for rows in (first, *others) for row in rows}
        return list(seen.values())

    def close(self) -> None:
        for part in self.parts:
            part.close()


def _key(row: Solution) -> tuple[object, ...]:
    return tuple(sorted((name, term) for name, term in row.items()))
