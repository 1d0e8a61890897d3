"""RDF terms and the solutions of a query, whoever answered it: an endpoint or a document in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Term:
    """One RDF term of a solution (SPARQL 1.1 Query Results JSON Format, section 3.2.2)."""

    kind: Literal["uri", "literal", "bnode"]
    value: str
    datatype: str | None = None
    language: str | None = None


Solution = dict[str, Term]
"""Variable → term; unbound variables are absent."""
