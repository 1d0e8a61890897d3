"""The world in Wikidata's RDF shape, and its moves as SPARQL UPDATE.

After "Wikibase/Indexing/RDF Dump Format" as the query service loads it: truthy `wdt:` triples beside
full statement nodes with rank, value, qualifiers (P580 start, P582 end) and a reference; version and
date of modification on the entity itself.  A move re-writes its slot, as the query service's updater
does, and raises the entity's version.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time

from kbsync.demo.world.demo_world import DAY_ZERO, DemoWorld
from kbsync.demo.world.entries import WorldEntity, WorldMove
from kbsync.demo.world.statements import WorldStatement, first_statements, moved

DEMO = "https://demo.kbsync.example/"
PREFIXES = {"demo": f"{DEMO}entity/"}
"""Prefixes that a source's settings need besides Wikidata's own."""

_PROP = "http://www.wikidata.org/prop/"
_ONTOLOGY = "http://wikiba.se/ontology#"
_SCHEMA = "http://schema.org/"
_XSD = "http://www.w3.org/2001/XMLSchema#"
_TYPE = "<http://www.w3.org/1999/02/22-rdf-syntax-ns#type>"
_LABEL = "<http://www.w3.org/2000/01/rdf-schema#label>"
_ALIAS = "<http://www.w3.org/2004/02/skos/core#altLabel>"
_DERIVED_FROM = "<http://www.w3.org/ns/prov#wasDerivedFrom>"
_VERSION = f"<{_SCHEMA}version>"
_MODIFIED = f"<{_SCHEMA}dateModified>"

CLASSES = {
    "person": "Q5",
    "country": "Q6256",
    "state": "Q35657",
    "city": "Q515",
    "continent": "Q5107",
    "currency": "Q8142",
    "language": "Q34770",
    "company": "Q4830453",
    "club": "Q847017",
    "venue": "Q483110",
    "league": "Q623109",
    "occupation": "Q28640",
    "party": "Q7278",
    "invented": "Q35120",
}
"""P31 of each type: Wikidata's class."""

_FIRST_REVISION = 1_330_000_000
_RANKS = {"preferred": "PreferredRank", "normal": "NormalRank", "deprecated": "DeprecatedRank"}


class Wikibase:
    """The knowledge base at a point of its story: begins on 1 January 2021, and is taken on by `apply`.

    It holds what a server that was given `ntriples()` and every update since would hold.
    """

    def __init__(self, world: DemoWorld) -> None:
        self._world = world
        self._entities = dict(world.entities)
        self._slots = first_statements(world.facts_2021)
        self._revisions = {id: _FIRST_REVISION + n for n, id in enumerate(sorted(world.entities))}
        self._modified = dict.fromkeys(world.entities, _midnight(DAY_ZERO))
        self._revision = _FIRST_REVISION + len(world.entities)

    def ntriples(self) -> str:
        """Everything, as N-Triples."""
        lines: list[str] = []
        for entity in self._entities.values():
            lines += self._description(entity)
            lines += self._revision_of(entity.id)
        for statements in self._slots.values():
            lines += _slot(statements)
        return "".join(f"{line}\n" for line in lines)

    def apply(self, move: WorldMove) -> str:
        """Apply the move and return it as one SPARQL UPDATE; raises WorldError if it cannot be applied."""
        after = moved(self._slots.get(move.slot, ()), move)
        new = self._newcomer(move.object, move.at)
        self._slots[move.slot] = after
        self._touch(move.subject, move.at)
        subject, claim = _entity(move.subject), _property("", move.relation)
        inserted = [*new, *_slot(after), *self._revision_of(move.subject)]
        return " ;\n".join(
            (
                f"DELETE {{ ?st ?p ?o }} WHERE {{ {subject} {claim} ?st . ?st ?p ?o }}",
                f"DELETE WHERE {{ {subject} {claim} ?st }}",
                f"DELETE WHERE {{ {subject} {_property('direct/', move.relation)} ?o }}",
                f"DELETE WHERE {{ {subject} {_VERSION} ?v }}",
                f"DELETE WHERE {{ {subject} {_MODIFIED} ?m }}",
                "INSERT DATA {\n" + "\n".join(inserted) + "\n}",
            )
        )

    def apply_all(self, moves: Iterable[WorldMove]) -> str:
        """Several moves as one request; empty for none."""
        return " ;\n".join([self.apply(move) for move in moves])

    def _newcomer(self, id: str, at: datetime) -> list[str]:
        """The triples of an entity that the server does not have yet."""
        if id in self._entities:
            return []
        entity = self._entities[id] = self._world.entity(id)
        self._touch(id, at)
        return [*self._description(entity), *self._revision_of(id)]

    def _touch(self, id: str, at: datetime) -> None:
        self._revision += 1
        self._revisions[id] = self._revision
        self._modified[id] = at

    def _description(self, entity: WorldEntity) -> Iterator[str]:
        subject = _entity(entity.id)
        yield f"{subject} {_TYPE} <{_ONTOLOGY}Item> ."
        yield f"{subject} {_LABEL} {_text(entity.label)} ."
        for alias in entity.aliases:
            yield f"{subject} {_ALIAS} {_text(alias)} ."
        kind = f"<http://www.wikidata.org/entity/{CLASSES[entity.type]}>"
        statement = WorldStatement(f"{entity.id.partition(':')[2]}$P31", entity.id, "wdt:P31", entity.type)
        yield from _statement(statement, kind, best=True)

    def _revision_of(self, id: str) -> Iterator[str]:
        subject = _entity(id)
        yield f'{subject} {_VERSION} "{self._revisions[id]}"^^<{_XSD}integer> .'
        yield f"{subject} {_MODIFIED} {_instant(self._modified[id])} ."


def statement_node(id: str) -> str:
    """The node of a statement id: all characters except letters, digits, `_` and `-` become `-`, as in Wikibase."""
    return f"<{DEMO}entity/statement/{re.sub(r'[^A-Za-z0-9_-]', '-', id)}>"


def _slot(statements: tuple[WorldStatement, ...]) -> Iterator[str]:
    """Best rank is preferred if there is one, else normal, never deprecated; ended statements keep theirs."""
    ranks = {statement.rank for statement in statements}
    best = "preferred" if "preferred" in ranks else "normal"
    for statement in statements:
        yield from _statement(statement, _entity(statement.object), statement.rank == best)


def _statement(held: WorldStatement, value: str, best: bool) -> Iterator[str]:
    subject, node = _entity(held.subject), statement_node(held.id)
    if best:
        yield f"{subject} {_property('direct/', held.relation)} {value} ."
        yield f"{node} {_TYPE} <{_ONTOLOGY}BestRank> ."
    yield f"{subject} {_property('', held.relation)} {node} ."
    yield f"{node} {_TYPE} <{_ONTOLOGY}Statement> ."
    yield f"{node} <{_ONTOLOGY}rank> <{_ONTOLOGY}{_RANKS[held.rank]}> ."
    yield f"{node} {_property('statement/', held.relation)} {value} ."
    for qualifier, day in (("P580", held.start), ("P582", held.end)):
        if day:
            yield f"{node} <{_PROP}qualifier/{qualifier}> {_instant(_midnight(day))} ."
    if held.reference:
        yield from _reference(node, held)


def _reference(node: str, held: WorldStatement) -> Iterator[str]:
    """A reference is a node named by its content (P813, retrieved), so that equal references are shared."""
    retrieved = _instant(_midnight(max(DAY_ZERO, held.end or held.start or DAY_ZERO)))
    reference = f"<{DEMO}reference/{hashlib.sha1(retrieved.encode(), usedforsecurity=False).hexdigest()}>"
    yield f"{node} {_DERIVED_FROM} {reference} ."
    yield f"{reference} {_TYPE} <{_ONTOLOGY}Reference> ."
    yield f"{reference} <{_PROP}reference/P813> {retrieved} ."


def _entity(id: str) -> str:
    return f"<{PREFIXES['demo']}{id.partition(':')[2]}>"


def _property(kind: str, relation: str) -> str:
    return f"<{_PROP}{kind}{relation.partition(':')[2]}>"


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"@en'


def _instant(at: datetime) -> str:
    return f'"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"^^<{_XSD}dateTime>'


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
