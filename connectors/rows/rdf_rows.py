"""Rows of RDF files: a query's solutions, or triples that state `subject relation object` plainly.

Plain triples need no query, whose joins would pair every label of a subject with every label of an
object.  Two passes over the file take time in proportion to it: statements, then the names of what they
mention.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

import pyoxigraph as ox

from connectors import rdf
from connectors.errors import SourceDataError
from connectors.languages import language_rank
from connectors.local_graph import MAX_TRIPLES, LocalGraph
from connectors.rows.columns import MAX_NAMES, Numbered
from connectors.terms import Term

RDFS_LABEL = "http://www.w3.org/2000/01/rdf-schema#label"
RDF_TYPE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
ALT_LABEL = "http://www.w3.org/2004/02/skos/core#altLabel"
_NO_RELATIONS = frozenset({RDFS_LABEL, RDF_TYPE, ALT_LABEL})
Read = Callable[[], rdf.Triples]
"""Goes through the triples of a file from its beginning."""


@dataclass(slots=True)
class _Names:
    label: Term | None = None
    aliases: list[Term] = field(default_factory=list)


def plain_rows(
    read: Read, relations: Collection[str], languages: Sequence[str], most: int
) -> Iterator[Numbered]:
    """A row for each triple whose predicate is among `relations` (IRIs; all but names, if none are given).

    Raises SourceDataError for more than `most` of them.
    """
    found: list[tuple[int, ox.Quad | SourceDataError]] = []
    names: dict[str, _Names] = {}
    for number, triple in read():
        if not isinstance(triple, SourceDataError):
            relation = triple.predicate.value
            if relation not in relations if relations else relation in _NO_RELATIONS:
                continue
            for node in (triple.subject, triple.object):
                if isinstance(node, ox.NamedNode):
                    names.setdefault(node.value, _Names())
        found.append((number, triple))
        if len(found) > most:
            raise SourceDataError(f"more than {most} statements in one file; split it, or raise `max_rows`")
    _collect_names(read, names, languages)
    for number, triple in found:
        yield number, triple if isinstance(triple, SourceDataError) else _row(triple, names)


def query_rows(read: Read, query: str) -> Iterator[Numbered]:
    """The solutions of a SELECT over the whole file.  Raises SourceDataError beyond MAX_TRIPLES."""
    graph, triples = LocalGraph(), []
    for number, triple in read():
        if isinstance(triple, SourceDataError):
            yield number, triple
            continue
        triples.append(triple)
        if len(triples) > MAX_TRIPLES:
            raise SourceDataError(f"more than {MAX_TRIPLES} triples in one file; split it")
    graph.extend(triples)
    yield from enumerate(graph.select(query), 1)


def _collect_names(read: Read, names: dict[str, _Names], languages: Sequence[str]) -> None:
    for _, triple in read():
        if isinstance(triple, SourceDataError) or not isinstance(triple.object, ox.Literal):
            continue
        known = names.get(triple.subject.value) if isinstance(triple.subject, ox.NamedNode) else None
        if known is None or (rank := language_rank(triple.object.language or "", languages)) is None:
            continue
        term = rdf.term_of(triple.object)
        if triple.predicate.value == RDFS_LABEL:
            best = known.label
            if best is None or (rank, term.value) < (
                language_rank(best.language or "", languages),
                best.value,
            ):
                known.label = term
        elif triple.predicate.value == ALT_LABEL and len(known.aliases) < MAX_NAMES:
            known.aliases.append(term)


def _row(triple: ox.Quad, names: dict[str, _Names]) -> dict[str, object]:
    subject, object_ = rdf.term_of(triple.subject), rdf.term_of(triple.object)
    none = _Names()
    of_subject = names.get(subject.value, none) if subject.kind == "uri" else none
    of_object = names.get(object_.value, none) if object_.kind == "uri" else none
    return {
        "subject": subject,
        "relation": rdf.term_of(triple.predicate),
        "object": object_,
        "subject_label": of_subject.label,
        "object_label": of_object.label,
        "subject_aliases": [alias.value for alias in of_subject.aliases],
        "object_aliases": [alias.value for alias in of_object.aliases],
    }
