"""Kind `acme-registry`: a JSON file of entries, each with a revision.

{"entries": [{"subject": "acme:1", "relation": "acme:boss", "objects": ["acme:7"], "revision": 3}]}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from connectors.current import current_triples
from connectors.errors import SourceDataError, SourceUnavailable
from connectors.observations import Entity, Health, Observation, Poll, Statement, Triple
from connectors.settings import Context, SourceSettings, parse


class RegistrySettings(SourceSettings):
    kind: Literal["acme-registry"]
    file: Path


class RegistryConnector:
    def __init__(self, name: str, file: Path, context: Context) -> None:
        self.name = name
        self._file = file
        self._now = context.clock.now

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        """One step an entry, in the order of revisions, which the registry never gives twice."""
        seen = int(cursor or 0)
        for entry in sorted(self._entries(), key=lambda entry: int(entry["revision"])):
            if entry["revision"] > seen:
                yield Poll((self._observation(entry),), str(entry["revision"]))

    def snapshot(self, slots: Iterable[tuple[str, str]]) -> Iterator[Poll]:
        wanted = set(slots)
        entries = [e for e in self._entries() if (e["subject"], e["relation"]) in wanted]
        yield Poll(tuple(self._observation(entry) for entry in entries), None)

    def neighbours(self, relation: str, object_id: str | None, limit: int) -> tuple[Triple, ...]:
        triples = self._current(entry for entry in self._entries() if entry["relation"] == relation)
        return tuple([t for t in triples if object_id in (None, t.object.id)][:limit])

    def facts_of(self, subject_id: str, limit: int) -> tuple[Triple, ...]:
        entries = (entry for entry in self._entries() if entry["subject"] == subject_id)
        return tuple(self._current(entries)[:limit])

    def check(self) -> Health:
        try:
            return Health(True, f"{len(self._entries())} entries")
        except (SourceUnavailable, SourceDataError) as error:
            return Health(False, str(error))

    def close(self) -> None:
        """Nothing is held open."""

    def _current(self, entries: Iterable[dict[str, Any]]) -> list[Triple]:
        return current_triples((self._observation(entry) for entry in entries), self._now())

    def _entries(self) -> list[dict[str, Any]]:
        try:
            entries: list[dict[str, Any]] = json.loads(self._file.read_text())["entries"]
            return entries
        except OSError as error:
            raise SourceUnavailable(f"{self.name}: {error}") from error
        except (ValueError, KeyError) as error:
            raise SourceDataError(f"{self.name}: {self._file} is no registry: {error!r}") from error

    def _observation(self, entry: Mapping[str, Any]) -> Observation:
        statements = tuple(Statement(id, "entity", Entity(id, id)) for id in sorted(entry["objects"]))
        subject = Entity(entry["subject"], entry["subject"])
        return Observation(
            self.name, subject, entry["relation"], statements, entry["revision"], None, self._now()
        )


def connect(name: str, settings: Mapping[str, Any], context: Context) -> RegistryConnector:
    parsed = parse(RegistrySettings, name, settings)
    return RegistryConnector(name, context.directory / parsed.file, context)
