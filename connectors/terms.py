"""RDF terms and query solutions, from an endpoint or from a document in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from connectors.border import well_formed
from connectors.errors import SourceDataError


@dataclass(frozen=True, slots=True)
class Term:
    """One RDF term of a solution (SPARQL 1.1 Query Results JSON Format, section 3.2.2)."""

    kind: Literal["uri", "literal", "bnode", "unusable"]
    value: str
    """Of an unusable term: why it cannot be used."""
    datatype: str | None = None
    language: str | None = None


Solution = dict[str, Term]
"""Variable → term; unbound variables are absent."""


def well_formed_term(
    kind: Literal["uri", "literal", "bnode"],
    value: str,
    datatype: str | None = None,
    language: str | None = None,
) -> Term:
    """The term, or an unusable one if its text is too long or contains NUL or a lone surrogate."""
    try:
        for text in (value, datatype, language):
            if text is not None:
                well_formed(text, "a term")
    except SourceDataError as error:
        return Term("unusable", str(error))
    return Term(kind, value, datatype, language)
