"""Reads of a Wikibase's SPARQL endpoint: versions, slots, descriptions, as plain values by CURIE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from connectors.http.paging import in_pages
from connectors.observations import Entity, Statement
from connectors.terms import Solution
from connectors.wikidata import queries
from connectors.wikidata.rows import (
    Version,
    descriptions_of,
    statements_of,
    subjects_of,
    versions_of,
)
from connectors.wikidata.vocabulary import Vocabulary

_UPDATER = "http://www.wikidata.org"
"""The node whose dateModified tells how far the public query service has come."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One subject as one answer showed it."""

    subject: Entity
    version: Version
    slots: Mapping[str, tuple[Statement, ...]]
    """By relation; objects have labels."""
    objects: Mapping[str, Version | None]
    """Which version of each object its label is of."""


@dataclass(frozen=True, slots=True)
class Described:
    """An entity as one answer described it; no version: nothing is known of it."""

    entity: Entity
    version: Version | None


class Graph(Protocol):
    """What answers SELECT queries: an endpoint, or a document in memory."""

    def select(self, query: str, *, splittable: bool = False) -> list[Solution]: ...


class Reader:
    """All questions that are put to one graph."""

    def __init__(
        self,
        client: Graph,
        vocabulary: Vocabulary,
        languages: Sequence[str],
        versions_per_request: int,
        labels: Reader | None = None,
    ) -> None:
        self._client = client
        self._vocabulary = vocabulary
        self._languages = languages
        self._page = versions_per_request
        self._labels = labels or self
        """Who describes objects: a document about one entity names them without their labels."""

    def over(self, graph: Graph) -> Reader:
        """The same questions put to another graph, objects described by this one."""
        return Reader(graph, self._vocabulary, self._languages, self._page, self)

    def versions(self, ids: Sequence[str]) -> tuple[dict[str, Version], dict[str, str]]:
        """(version by id, new id by merged id); an id in neither is absent at the source."""
        found: dict[str, Version] = {}
        merged: dict[str, str] = {}
        for _, (some, some_merged) in in_pages(ids, self._page, self._versions):
            found |= some
            merged |= some_merged
        return found, merged

    def _versions(self, ids: Sequence[str], splittable: bool) -> tuple[dict[str, Version], dict[str, str]]:
        rows = self._client.select(queries.versions(self._iris(ids)), splittable=splittable)
        found, merged = versions_of(rows)
        compact = self._vocabulary.namespaces.compact
        return (
            {compact(iri): version for iri, version in found.items()},
            {compact(old): compact(new) for old, new in merged.items()},
        )

    def readings(
        self, ids: Sequence[str], relations: Sequence[str], page: int
    ) -> Iterator[tuple[Sequence[str], dict[str, Reading]]]:
        """Pages of at most `page` subjects with their slots; an absent subject has no reading."""
        return in_pages(ids, page, lambda some, splittable: self._readings(some, relations, splittable))

    def _readings(self, ids: Sequence[str], relations: Sequence[str], splittable: bool) -> dict[str, Reading]:
        pids = {relation: self._vocabulary.property_id(relation) for relation in relations}
        query = queries.slots(self._vocabulary, self._iris(ids), list(pids.values()), self._languages)
        subjects = subjects_of(self._client.select(query, splittable=splittable), self._vocabulary)
        slots = {
            iri: {
                relation: statements_of(subject, self._vocabulary.claim(pid), self._vocabulary)
                for relation, pid in pids.items()
            }
            for iri, subject in subjects.items()
        }
        objects = self._labels.describe(_entities(slots.values()))
        readings = {}
        for iri, subject in subjects.items():
            if subject.description.version is None:
                continue
            id = self._vocabulary.namespaces.compact(iri)
            entity = subject.description.entity(id, self._languages)
            labelled = {r: _labelled(statements, objects) for r, statements in slots[iri].items()}
            mentioned = {id: objects[id].version for id in _entities([slots[iri]])}
            readings[id] = Reading(entity, subject.description.version, labelled, mentioned)
        return readings

    def describe(self, ids: Iterable[str]) -> dict[str, Described]:
        """Labels, aliases and whether alive; an id about which nothing is known is a bare entity."""
        wanted = sorted(set(ids))
        found: dict[str, Described] = {}
        for some, entities in in_pages(wanted, self._page, self._describe):
            found |= {id: entities.get(id, Described(Entity(id), None)) for id in some}
        return found

    def _describe(self, ids: Sequence[str], splittable: bool) -> dict[str, Described]:
        query = queries.descriptions(self._vocabulary, self._iris(ids), self._languages)
        described = descriptions_of(self._client.select(query, splittable=splittable), self._vocabulary)
        compact = self._vocabulary.namespaces.compact
        return {
            compact(iri): Described(description.entity(compact(iri), self._languages), description.version)
            for iri, description in described.items()
        }

    def changed_objects(
        self, ids: Sequence[str], relations: Sequence[str], page: int, since: datetime
    ) -> dict[str, Version]:
        """Versions of the objects in the subjects' slots that changed since."""
        pids = [self._vocabulary.property_id(relation) for relation in relations]

        def ask(some: Sequence[str], splittable: bool) -> dict[str, Version]:
            query = queries.changed_objects(self._vocabulary, self._iris(some), pids, since)
            return versions_of(self._client.select(query, splittable=splittable))[0]

        compact = self._vocabulary.namespaces.compact
        return {
            compact(iri): version
            for _, versions in in_pages(ids, page, ask)
            for iri, version in versions.items()
        }

    def holders(self, relation: str, object_id: str | None, limit: int) -> tuple[str, ...]:
        """Subjects that have a statement with the object (any object when None) in the slot, sorted."""
        pid = self._vocabulary.property_id(relation)
        object_iri = self._vocabulary.namespaces.expand(object_id) if object_id else None
        rows = self._client.select(queries.holders(self._vocabulary, pid, object_iri, limit))
        return tuple(sorted(self._vocabulary.namespaces.compact(row["s"].value) for row in rows))

    def updated_to(self) -> str | None:
        """Up to which instant the query service has been updated, where it tells."""
        rows = self._client.select(queries.lag(_UPDATER))
        return max((row["modified"].value for row in rows), default=None)

    def _iris(self, ids: Sequence[str]) -> list[str]:
        return [self._vocabulary.namespaces.expand(id) for id in ids]


def _entities(slots: Iterable[Mapping[str, tuple[Statement, ...]]]) -> set[str]:
    return {
        statement.object.id
        for relations in slots
        for statements in relations.values()
        for statement in statements
        if statement.kind == "entity" and statement.object
    }


def _labelled(statements: tuple[Statement, ...], objects: Mapping[str, Described]) -> tuple[Statement, ...]:
    return tuple(
        replace(statement, object=objects[statement.object.id].entity)
        if statement.kind == "entity" and statement.object
        else statement
        for statement in statements
    )
