"""The Wikibase connector: a watch list, polled by version, re-read by slot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from connectors.current import current_triples
from connectors.dates import EARLIEST
from connectors.errors import ConnectorError, SourceDataError, SourceSettingsError, SourceUnavailable
from connectors.http.client import stepwise
from connectors.observations import Health, Observation, Poll, Triple
from connectors.settings import Context
from connectors.wikidata import queries, watch
from connectors.wikidata.cursor import Cursor, rewound
from connectors.wikidata.passes import FEW, Pass, PassScope, gone, observations
from connectors.wikidata.queries import DIRECT, STATEMENTS
from connectors.wikidata.reader import GraphReader, SubjectState
from connectors.wikidata.rows import EntityVersions
from connectors.wikidata.settings import WatchSettings
from connectors.wikidata.split_graph import SplitGraph

_PROBED = 20
"""Subjects that show what an endpoint has."""


class WikidataConnector:
    """Kind `wikidata`: observations of watched slots, with the whole statement shape."""

    def __init__(self, name: str, settings: WatchSettings, client: SplitGraph, context: Context) -> None:
        self.name = name
        self._settings = settings
        self._client = client
        self._context = context
        self._vocabulary = settings.vocabulary()
        self.relations = self._relations()
        for subject in settings.subjects:
            self._require_prefix("subjects", subject)
        for one in settings.subjects_classes:
            self._require_prefix("subjects_classes", one)
        self._selected: tuple[datetime, frozenset[str]] = EARLIEST, frozenset()
        self.requesters = [part.requester for part in client.parts]
        self.reader = GraphReader(client, self._vocabulary, settings.languages, settings.versions_per_request)
        self.page = max(1, settings.slots_per_step // len(self.relations))

    def _relations(self) -> tuple[str, ...]:
        """Those of the settings, which must fit; else those of the catalogue that do."""
        for relation in self._settings.relations:
            self._require_prefix("relations", relation)
            self._vocabulary.property_id(relation)
        offered = self._settings.relations or [
            relation for relation in self._context.default_relations if self._vocabulary.has(relation)
        ]
        if not offered:
            raise SourceSettingsError(
                f"sources.{self.name}.relations: no relation to watch; name at least one"
            )
        return tuple(sorted(set(offered)))

    def _require_prefix(self, key: str, id: str) -> None:
        try:
            self._vocabulary.namespaces.expand(id)
        except SourceDataError as error:
            raise SourceSettingsError(f"sources.{self.name}.{key}: {error}") from error

    def watched(self) -> tuple[str, ...]:
        """The watch list as it is now: CURIEs, sorted, each once."""
        found = self._listed()
        if self._settings.selects:
            now = self.now()
            at, selected = self._selected
            if not timedelta() <= now - at < self._settings.subjects_every:
                selected = self._select()
                self._selected = now, selected
            found |= selected
        return tuple(sorted(found))

    def _select(self) -> frozenset[str]:
        """The subjects that the query and the classes select now."""
        found: set[str] = set()
        settings, namespaces = self._settings, self._vocabulary.namespaces
        if settings.subjects_query:
            found |= set(watch.from_query(self._client, settings.subjects_query, namespaces))
        for one in settings.subjects_classes:
            query = queries.members(self._vocabulary, [namespaces.expand(one)])
            setting = f"the class {one} of subjects_classes"
            found |= set(watch.from_query(self._client, query, namespaces, setting))
        return frozenset(found)

    def _listed(self) -> set[str]:
        """The subjects that the settings name."""
        file = self._settings.subjects_file
        listed = watch.listed(self._settings.subjects, file and self._context.directory / file)
        for id in listed:
            self._require_prefix("subjects_file", id)
        return listed

    def now(self) -> datetime:
        return self._context.clock.now()

    def rewind(self, cursor: str, to: datetime | None) -> str:
        """The cursor from which everything that changed since `to` (everything, if None) is read again."""
        return rewound(Cursor.load(cursor), to).dump()

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        return self._in_time(self._poll(cursor))

    def snapshot(self, slots: Iterable[tuple[str, str]]) -> Iterator[Poll]:
        return self._in_time(self._snapshots(slots))

    def _in_time(self, steps: Iterator[Poll]) -> Iterator[Poll]:
        return stepwise(steps, self.requesters, self._settings.step_deadline_s)

    def _begin(self) -> None:
        """A question outside a poll is a step of its own."""
        for requester in self.requesters:
            requester.allow(self._settings.step_deadline_s)

    def _poll(self, cursor: str | None) -> Iterator[Poll]:
        watched = self.watched()
        if cursor is None:
            self._require_statements(watched[:_PROBED])
        scope = PassScope(self.name, watched, self.relations, self._settings, self.page)
        yield from Pass(scope, self.reader, self._context.clock.now, Cursor.load(cursor)).steps()

    def _require_statements(self, some: Sequence[str]) -> None:
        """Ask what the endpoint has, before anything was read.  Raises SourceDataError where that cannot be used."""
        has = self.reader.capabilities(some)
        if DIRECT in has and STATEMENTS not in has:
            raise SourceDataError(
                f"{self.name}: {self._client.endpoint} has the values of {some[0]} and others, but not their "
                "statements with ranks and qualifiers: it was loaded from a dump of truthy values. Load the full dump"
            )

    def _snapshots(self, slots: Iterable[tuple[str, str]]) -> Iterator[Poll]:
        """Slots whose prefixes were taken out of the settings cannot be asked about: what was read of them stays."""
        asked: dict[str, set[str]] = defaultdict(set)
        for subject, relation in slots:
            if self._vocabulary.namespaces.expands(subject) and self._vocabulary.has(relation):
                asked[subject].add(relation)
        subjects = sorted(asked)
        for start in range(0, len(subjects), self.page):
            yield self._snapshot({id: asked[id] for id in subjects[start : start + self.page]})

    def _snapshot(self, asked: dict[str, set[str]]) -> Poll:
        scan = self.reader.versions(sorted(asked))
        if scan == EntityVersions() and len(asked) > FEW and self._settings.max_vanished < 1:
            raise SourceUnavailable(
                f"{self.name}: none of the {len(asked)} requested subjects exists, which is "
                "treated as an error of the source"
            )
        for old, new in scan.merged.items():
            asked.setdefault(new, set()).update(asked.pop(old))
        relations = sorted(set().union(*asked.values()))
        observations: list[Observation] = []
        merged: list[tuple[str, str]] = []
        for some, states in self.reader.states(sorted(asked), relations, self.page):
            for id in some:
                if state := states.get(id):
                    observations += self.observations(state, sorted(asked[id]))
                    merged += state.merged
                elif id not in scan.found and id not in scan.unreadable:
                    observations += gone(self.name, id, sorted(asked[id]), 0, self.now())
        redirects = tuple(sorted(scan.merged.items()))
        return Poll(tuple(observations), None, redirects=redirects, merged_objects=tuple(merged))

    def observations(self, state: SubjectState, relations: Sequence[str]) -> list[Observation]:
        """The state as observations of its slots in `relations`."""
        return observations(self.name, state, relations, self.now())

    def neighbours(self, relation: str, object_id: str | None, limit: int) -> tuple[Triple, ...]:
        self._begin()
        # Some holders hold the object no longer: look at more than are wanted.
        holders = self.reader.holders(relation, object_id, 3 * limit)
        triples = self._current(holders, (relation,))
        if object_id:
            triples = [triple for triple in triples if triple.object.id == object_id]
        return tuple(triples[:limit])

    def facts_of(self, subject_id: str, limit: int) -> tuple[Triple, ...]:
        self._begin()
        return tuple(self._current((subject_id,), self.relations)[:limit])

    def _current(self, ids: Sequence[str], relations: Sequence[str]) -> list[Triple]:
        found: list[Observation] = []
        for some, states in self.reader.states(ids, relations, self.page):
            for id in some:
                if state := states.get(id):
                    found += self.observations(state, relations)
        return current_triples(found, self.now())

    def check(self) -> Health:
        self._begin()
        try:
            watched = self.watched()
            some = watched[:_PROBED]
            scan = self.reader.versions(some)
            updated = self.reader.updated_to()
            has = ", ".join(sorted(self.reader.capabilities(some))) or "nothing that is needed"
        except ConnectorError as error:
            return Health(False, str(error), lasting=error.lasting)
        if not scan.found and not scan.merged:
            return Health(False, f"none of the first {len(some)} watched subjects has a schema:version")
        lag = (self.now() - updated).total_seconds() if updated else None
        extra = {"endpoint": self._client.endpoint, "relations": str(len(self.relations)), "has": has}
        return Health(True, f"{len(watched)} subjects watched", lag, extra)

    def close(self) -> None:
        self._client.close()
