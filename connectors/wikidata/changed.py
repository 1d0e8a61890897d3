"""Reads the entities that a stream named, in batches: from the wiki if configured, else from the query service."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from connectors.errors import SourceDataError
from connectors.http.client import Requester
from connectors.observations import Observation, Poll
from connectors.wikidata.connector import WikidataConnector
from connectors.wikidata.entity_api import EntityApi
from connectors.wikidata.entity_data import EntityData
from connectors.wikidata.mutations import Mutation
from connectors.wikidata.passes import gone
from connectors.wikidata.reader import SubjectState
from connectors.wikidata.stream_cursor import StreamCursor

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChangedReader:
    """Reads changed subjects of one watch list."""

    watch_list: WikidataConnector
    entity_data: EntityData | None
    """Reads one entity by revision."""
    api: EntityApi | None
    """Reads fifty entities as they are now."""

    @property
    def requesters(self) -> list[Requester]:
        return [one.requester for one in (self.entity_data, self.api) if one is not None]

    def close(self) -> None:
        for one in (self.entity_data, self.api):
            if one is not None:
                one.close()

    def read(self, changed: Mapping[str, Mutation], where: StreamCursor) -> tuple[Poll, StreamCursor]:
        """(a step about the changed subjects, the cursor, in which those that could not be read are due).

        A subject that is not there was deleted, or merged into another: only the query service knows
        which, and a merge is for the pass over the watch list.
        """
        states = self._states({id: one for id, one in changed.items() if not one.deletes})
        known = self.watch_list.reader.versions(sorted(changed.keys() - states.keys()))
        found: list[Observation] = []
        merged: list[tuple[str, str]] = []
        for id, mutation in changed.items():
            if (state := states.get(id)) is not None:
                found += self.watch_list.observations(state, self.watch_list.relations)
                merged += state.merged
                if state.version.number >= where.due.get(id, 0):
                    where = where.without(id)
            elif id in known.merged:
                where = where.without(id).with_list_unread()
            elif id not in known.found and id not in known.unreadable:
                found += self._gone(id, mutation)
                where = where.without(id).with_gone(id)
        return Poll(tuple(found), None, merged_objects=tuple(merged)), where

    def _gone(self, id: str, mutation: Mutation) -> list[Observation]:
        watch_list = self.watch_list
        return gone(watch_list.name, id, watch_list.relations, mutation.revision + 1, watch_list.now())

    def _states(self, changed: Mapping[str, Mutation]) -> dict[str, SubjectState]:
        """What the wiki has, and from the query service, which may lag, what the wiki has not."""
        relations, states = self.watch_list.relations, dict[str, SubjectState]()
        if self.entity_data is not None:
            states = self._one_by_one(self.entity_data, changed)
        elif self.api is not None:
            states = self.api.states(sorted(changed), relations)
        rest = sorted(changed.keys() - states.keys())
        for _, some in self.watch_list.reader.states(rest, relations, self.watch_list.page):
            states |= some
        return states

    def _one_by_one(self, source: EntityData, changed: Mapping[str, Mutation]) -> dict[str, SubjectState]:
        states = {}
        for id, mutation in changed.items():
            try:
                found = source.state(id, mutation.revision, self.watch_list.relations)
            except SourceDataError as error:
                _log.warning("%s cannot be read at the wiki: %s", id, error)
                continue
            if found is not None:
                states[id] = found
        return states
