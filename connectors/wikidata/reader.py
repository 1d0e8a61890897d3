"""Reads of a Wikibase's SPARQL endpoint: versions, slots, descriptions, as plain values by CURIE."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from connectors.dates import instant
from connectors.errors import AnswerTooLarge, SourceDataError
from connectors.http.paging import in_pages
from connectors.namespaces import Namespaces
from connectors.observations import Entity, Statement
from connectors.terms import Solution
from connectors.wikidata import queries
from connectors.wikidata.rows import (
    Description,
    EntityVersion,
    EntityVersions,
    Subject,
    descriptions_of,
    statements_of,
    subjects_of,
    versions_of,
)
from connectors.wikidata.vocabulary import Vocabulary

_log = logging.getLogger(__name__)
_UPDATER = "http://www.wikidata.org"
"""The node whose dateModified is the instant up to which the public query service has been updated."""


@dataclass(frozen=True, slots=True)
class SubjectState:
    """One subject as one answer showed it."""

    subject: Entity
    version: EntityVersion
    slots: Mapping[str, tuple[Statement, ...]]
    """By relation; objects have labels.  Slots that cannot be used are absent."""
    objects: Mapping[str, EntityVersion | None]
    """Which version of each object its label is of."""
    merged: tuple[tuple[str, str], ...] = ()
    """(old id, new id) of entities that were merged into the subject or into these objects."""


@dataclass(frozen=True, slots=True)
class Described:
    """An entity as one answer described it; no version: nothing is known of it."""

    entity: Entity
    version: EntityVersion | None
    merged: tuple[tuple[str, str], ...] = ()
    """(old id, its id) of entities that were merged into it."""


class Graph(Protocol):
    """Anything that answers SELECT queries: an endpoint, or a document in memory."""

    def select(self, query: str, *, splittable: bool = False) -> list[Solution]: ...

    @property
    def is_split(self) -> bool:
        """Whether subjects and the objects that they hold may be in different parts of it."""
        ...


class GraphReader:
    """All queries to one graph."""

    def __init__(
        self,
        client: Graph,
        vocabulary: Vocabulary,
        languages: Sequence[str],
        versions_per_request: int,
        labels: GraphReader | None = None,
    ) -> None:
        self._client = client
        self._vocabulary = vocabulary
        self._languages = languages
        self._page = versions_per_request
        self._labels = labels or self
        """Who describes objects: a document about one entity names them without their labels."""

    def over(self, graph: Graph) -> GraphReader:
        """The same questions put to another graph, objects described by this one."""
        return GraphReader(graph, self._vocabulary, self._languages, self._page, self)

    def versions(self, ids: Sequence[str]) -> EntityVersions:
        """What is known of each id at the source."""
        known = EntityVersions()
        for _, some in in_pages(ids, self._page, self._versions):
            known |= some
        return known

    def _versions(self, ids: Sequence[str], splittable: bool) -> EntityVersions:
        iris = self._iris(ids)
        rows = self._client.select(queries.versions(iris), splittable=splittable)
        known = versions_of(rows, set(iris))
        names = self._vocabulary.namespaces
        compact = names.compact
        merged = {compact(old): compact(new) for old, new in known.merged.items()}
        # What a subject was merged into is asked about next.
        usable = {old: new for old, new in merged.items() if names.expands(new)}
        return EntityVersions(
            {compact(iri): version for iri, version in known.found.items()},
            usable,
            frozenset(map(compact, known.unreadable)) | (merged.keys() - usable.keys()),
        )

    def states(
        self, ids: Sequence[str], relations: Sequence[str], page: int
    ) -> Iterator[tuple[Sequence[str], dict[str, SubjectState]]]:
        """Pages of at most `page` subjects with their slots; absent subjects are left out."""
        return in_pages(ids, page, lambda some, splittable: self._states(some, relations, splittable))

    def _states(
        self, ids: Sequence[str], relations: Sequence[str], splittable: bool
    ) -> dict[str, SubjectState]:
        pids = {relation: self._vocabulary.property_id(relation) for relation in relations}
        iris = self._iris(ids)
        query = queries.slots(self._vocabulary, iris, list(pids.values()), self._languages)
        rows = self._select(query, ids, splittable)
        return self.states_of(subjects_of(rows, set(iris), self._vocabulary), relations)

    def states_of(self, subjects: Mapping[str, Subject], relations: Sequence[str]) -> dict[str, SubjectState]:
        """Subjects by IRI, wherever they were read, as states by id; their objects are described by this graph."""
        pids = {relation: self._vocabulary.property_id(relation) for relation in relations}
        slots = {iri: self._slots(iri, subject, pids) for iri, subject in subjects.items()}
        objects = self._labels.describe(_entities(slots.values()))
        states = {}
        for iri, subject in subjects.items():
            if subject.description.version is None:
                continue
            id = self._vocabulary.namespaces.compact(iri)
            entity = subject.description.entity(id, self._languages)
            labelled = {r: _labelled(statements, objects) for r, statements in slots[iri].items()}
            mentioned = {id: objects[id].version for id in _entities([slots[iri]])}
            of_objects = tuple(pair for id in sorted(mentioned) for pair in objects[id].merged)
            merged = (*_formers(id, subject.description, self._vocabulary.namespaces), *of_objects)
            states[id] = SubjectState(entity, subject.description.version, labelled, mentioned, merged)
        return states

    def _slots(self, iri: str, subject: Subject, pids: Mapping[str, str]) -> dict[str, tuple[Statement, ...]]:
        """The subject's slots by relation, without those that cannot be used."""
        found = {}
        for relation, pid in pids.items():
            try:
                found[relation] = statements_of(subject, self._vocabulary.claim(pid), self._vocabulary)
            except SourceDataError as error:
                id = self._vocabulary.namespaces.compact(iri)
                _log.warning("%s of %s is left out until it changes: %s", relation, id, error)
        return found

    def _select(self, query: str, ids: Sequence[str], splittable: bool) -> list[Solution]:
        """The solutions; none where a single entity's do not fit into one answer: it alone is left out."""
        try:
            return self._client.select(query, splittable=splittable)
        except AnswerTooLarge as error:
            if splittable:
                raise
            _log.warning("%s cannot be read: %s", ", ".join(ids), error)
            return []

    def describe(self, ids: Iterable[str]) -> dict[str, Described]:
        """Labels, aliases and whether alive; an id about which nothing is known is a bare entity."""
        wanted = sorted(set(ids))
        found: dict[str, Described] = {}
        for some, entities in in_pages(wanted, self._page, self._describe):
            found |= {id: entities.get(id, Described(Entity(id), None)) for id in some}
        return found

    def _describe(self, ids: Sequence[str], splittable: bool) -> dict[str, Described]:
        iris = self._iris(ids)
        query = queries.descriptions(self._vocabulary, iris, self._languages)
        rows = self._select(query, ids, splittable)
        described = descriptions_of(rows, set(iris), self._vocabulary)
        names = self._vocabulary.namespaces
        found = {}
        for iri, description in described.items():
            id = names.compact(iri)
            entity = description.entity(id, self._languages)
            found[id] = Described(entity, description.version, _formers(id, description, names))
        return found

    def changed_objects(
        self, ids: Sequence[str], relations: Sequence[str], page: int, since: datetime
    ) -> dict[str, EntityVersion]:
        """Versions of the objects in the subjects' slots that changed since."""
        pids = [self._vocabulary.property_id(relation) for relation in relations]

        if self._client.is_split:
            return self._changed_elsewhere(ids, pids, page, since)

        def ask(some: Sequence[str], splittable: bool) -> dict[str, EntityVersion]:
            query = queries.changed_objects(self._vocabulary, self._iris(some), pids, since)
            rows = self._client.select(query, splittable=splittable)
            return versions_of(rows, {term.value for row in rows if (term := row.get("s"))}).found

        names = self._vocabulary.namespaces
        changed = {
            names.compact(iri): version
            for _, versions in in_pages(ids, page, ask)
            for iri, version in versions.items()
        }
        return {id: version for id, version in changed.items() if names.expands(id)}

    def _changed_elsewhere(
        self, ids: Sequence[str], pids: Sequence[str], page: int, since: datetime
    ) -> dict[str, EntityVersion]:
        """The same of a split graph: first the objects, then their versions, wherever they are."""

        def ask(some: Sequence[str], splittable: bool) -> set[str]:
            query = queries.objects(self._vocabulary, self._iris(some), pids)
            rows = self._client.select(query, splittable=splittable)
            return {term.value for row in rows if (term := row.get("s")) and term.kind == "uri"}

        names = self._vocabulary.namespaces
        held = {names.compact(iri) for _, some in in_pages(ids, page, ask) for iri in some}
        found = self.versions(sorted(id for id in held if names.expands(id))).found
        return {id: one for id, one in found.items() if one.modified is None or one.modified >= since}

    def capabilities(self, ids: Sequence[str]) -> set[str]:
        """What the graph has of these subjects; see `queries.capabilities`."""
        rows = self._client.select(queries.capabilities(self._vocabulary, self._iris(ids)))
        return {term.value for row in rows if (term := row.get("is"))}

    def holders(self, relation: str, object_id: str | None, limit: int) -> tuple[str, ...]:
        """Subjects that have a statement with the object (any object when None) in the slot, sorted."""
        pid = self._vocabulary.property_id(relation)
        object_iri = self._vocabulary.namespaces.expand(object_id) if object_id else None
        rows = self._client.select(queries.holders(self._vocabulary, pid, object_iri, limit))
        names = self._vocabulary.namespaces
        found = {names.compact(term.value) for row in rows if (term := row.get("s")) and term.kind == "uri"}
        return tuple(sorted(id for id in found if names.expands(id)))

    def updated_to(self) -> datetime | None:
        """The instant up to which the query service has been updated; None where it does not publish it.

        Raises SourceDataError for what is not a point in time.
        """
        rows = self._client.select(queries.lag(_UPDATER))
        return min((instant(term.value) for row in rows if (term := row.get("modified"))), default=None)

    def _iris(self, ids: Sequence[str]) -> list[str]:
        return [self._vocabulary.namespaces.expand(id) for id in ids]


def _formers(id: str, description: Description, names: Namespaces) -> tuple[tuple[str, str], ...]:
    """(old id, `id`) of the entities that were merged into it."""
    former = sorted(old for old in map(names.compact, description.former) if names.expands(old))
    return tuple((old, id) for old in former if old != id)


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
