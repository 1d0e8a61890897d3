"""One pass over a watch list: scan versions, then read the changed subjects in steps.

The order within a pass is: merged and vanished subjects, changed subjects by (modified, id), and labels
of objects in use.  Every step can be committed on its own, with its cursor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from connectors.dates import EARLIEST
from connectors.errors import SourceUnavailable
from connectors.observations import Entity, Observation, Poll
from connectors.wikidata.cursor import (
    Cursor,
    PassPlan,
    Unfinished,
    back,
    plan_pass,
    revisions_in,
    trusted_seen,
)
from connectors.wikidata.reader import GraphReader, SubjectState
from connectors.wikidata.rows import EntityVersion, EntityVersions
from connectors.wikidata.settings import WatchSettings
from connectors.wikidata.watch import Membership, packed, unpacked

_SEEN_IN_STEPS = 5_000
"""Versions that a step's cursor carries at most.  More (a bulk load gave everything one timestamp) wait
for the pass's end: an interrupted pass then reads them again, but steps stay small."""
_LABELS_IN_STEPS = 500
FEW = 5
"""Number of subjects that may always vanish at once, from any watch list."""

_MERGES = 5
"""Longest chain of merges that is followed; it could be a circle."""


@dataclass(frozen=True, slots=True)
class PassScope:
    """What a pass reads: these subjects' slots of these relations, under these settings."""

    source: str
    """Name of the source."""
    watched: Sequence[str]
    relations: Sequence[str]
    settings: WatchSettings
    page: int
    """Subjects in one request at most."""


class Pass:
    """The state of one `poll`: the cursor as it grows, step by step."""

    def __init__(
        self, scope: PassScope, reader: GraphReader, now: Callable[[], datetime], cursor: Cursor
    ) -> None:
        watched = scope.watched
        self._name = scope.source
        self._reader = reader
        self._listed = watched
        # A subject may have left the watch list *because* a slot was emptied: it is read once more.
        left = unpacked(cursor.members) - set(watched)
        self._watched = sorted({*watched, *left})
        self._relations = scope.relations
        self._settings = scope.settings
        self._page = scope.page
        self._now = now
        self._start = cursor
        self._cursor = replace(cursor, due=cursor.due | (left - cursor.gone))
        self._watch = Membership(watched, scope.relations)
        self._trusted = trusted_seen(cursor, self._watch)
        self._seen = dict(self._trusted)
        self._named: dict[str, EntityVersion | None] = {}
        """Objects named in this pass, with the version of the last label delivered."""
        self._everything = cursor == Cursor()
        self._imported = revisions_in(cursor.imported)

    def steps(self) -> Iterator[Poll]:
        """Yield the steps of the pass.  May raise a ConnectorError between steps; earlier steps stay valid."""
        scan = self._scan()
        newest = max((version.number for version in scan.found.values()), default=0)
        self._cursor = replace(self._cursor, newest=max(self._cursor.newest, newest))
        yield from self._merged(scan)
        yield from self._vanished(scan)
        self._take_over(scan)
        todo = plan_pass(self._cursor, scan.found, self._watch, self._settings.overlap, self._now())
        yield from self._changed(todo, scan.found)
        objects = self._changed_objects()
        yield from self._finish(todo.high, scan.found, objects)

    def _scan(self) -> EntityVersions:
        """Versions of all watched subjects, and of what they are merged into or were until now."""
        scan = self._reader.versions(self._watched)
        parted = {self._cursor.moved[old] for old in self._cursor.moved if old in scan.found}
        targets = ({*scan.merged.values()} | parted) - scan.found.keys()
        for _ in range(_MERGES):
            if not targets:
                break
            more = self._reader.versions(sorted(targets))
            targets = {*more.merged.values()} - scan.found.keys() - scan.merged.keys() - targets
            scan |= more
        if self._watched and not scan.found:
            raise SourceUnavailable(
                f"{self._name}: none of the {len(self._watched)} watched subjects is there (none has a "
                "schema:version); either the store is empty or the prefixes name other entities"
            )
        return scan

    def _merged(self, scan: EntityVersions) -> Iterator[Poll]:
        """Subjects that were merged; and those whose merge was undone, which are read again with their heirs."""
        known = self._cursor.moved
        news = {old: new for old, new in scan.merged.items() if known.get(old) != new}
        parted = {old for old in known if old in scan.found}
        if not news and not parted:
            return
        heirs = {known[old] for old in parted}
        to_read = {*news.values(), *heirs} & scan.found.keys()
        moved = {old: new for old, new in {**known, **scan.merged}.items() if old not in parted}
        due = (self._cursor.due | to_read | parted) - news.keys()
        self._cursor = replace(self._cursor, moved=moved, due=due)
        absent = sorted(heirs - scan.found.keys() - scan.merged.keys() - scan.unreadable)
        emptied = [o for id in absent for o in self._gone(id)]
        yield Poll(tuple(emptied), self._cursor.dump(), redirects=tuple(sorted(news.items())))

    def _vanished(self, scan: EntityVersions) -> Iterator[Poll]:
        heirs = {_resolved(id, scan.merged) for id in self._watched}
        absent = heirs - scan.found.keys() - scan.unreadable
        if self._everything:
            self._cursor = replace(self._cursor, gone=frozenset(absent))
            return
        if self._imported:  # what the dump did not state either has never been there
            self._cursor = replace(self._cursor, gone=self._cursor.gone | (absent - self._imported.keys()))
        vanished = sorted(absent - self._cursor.gone)
        if len(vanished) > max(FEW, self._settings.max_vanished * len(self._watched)):
            raise SourceUnavailable(
                f"{self._name}: {len(vanished)} of {len(self._watched)} watched subjects vanished at once, "
                f"{vanished[0]} among them, which is treated as an error of the source. "
                "If they are really gone, raise `max_vanished`"
            )
        again = self._reader.versions(vanished)
        vanished = [id for id in vanished if id not in again.found and id not in again.unreadable]
        if not vanished:
            return
        absent_now = self._cursor.gone | set(vanished)
        self._cursor = replace(self._cursor, gone=absent_now, due=self._cursor.due - absent_now)
        yield Poll(tuple(o for id in vanished for o in self._gone(id)), self._cursor.dump())

    def _take_over(self, scan: EntityVersions) -> None:
        """After an import from a dump: what has another version than the dump stated is to be read, however long ago
        it changed.  From the first step on, the cursor has that list instead of the dump's revisions."""
        if not self._imported:
            return
        changed = {id for id, version in scan.found.items() if self._imported.get(id) != version.number}
        since = back(self._cursor.high or EARLIEST, self._settings.overlap)
        same = {id: v.number for id, v in scan.found.items() if id not in changed and _is_recent(v, since)}
        self._seen |= same
        self._trusted = {**self._trusted, **same}
        self._cursor = replace(
            self._cursor,
            due=self._cursor.due | changed,
            seen=dict(self._seen),
            covered=self._watch.text,
            imported="",
        )

    def _gone(self, id: str) -> list[Observation]:
        return gone(self._name, id, self._relations, self._cursor.newest + 1, self._now())

    def _changed(self, todo: PassPlan, scan: dict[str, EntityVersion]) -> Iterator[Poll]:
        at_of = {id: at for at, id in todo.changes}
        for ids, states in self._reader.states(list(at_of), self._relations, self._page):
            last = ids[-1]
            self._advance(ids, states, scan, Unfinished((at_of[last], last), todo.high, self._watch.text))
            found = [o for id in ids if id in states for o in self._observations(states[id])]
            merged = tuple(pair for id in ids if id in states for pair in states[id].merged)
            yield Poll(tuple(found), self._cursor.dump(), merged_objects=merged)

    def _advance(
        self,
        ids: Sequence[str],
        states: dict[str, SubjectState],
        scan: dict[str, EntityVersion],
        where: Unfinished,
    ) -> None:
        """The cursor after these subjects; one that was read older than scanned stays due."""
        stale = {id for id in ids if id not in states or states[id].version.number < scan[id].number}
        fresh = set(ids) - stale
        self._seen |= {id: states[id].version.number for id in fresh}
        for state in states.values():
            self._named |= state.objects
        if self._start.unfinished and self._start.unfinished.watch == where.watch:
            where = replace(
                where,
                after=max(where.after, self._start.unfinished.after),
                high=min(where.high, self._start.unfinished.high),
            )
        self._cursor = replace(
            self._cursor,
            seen=dict(self._seen) if len(self._seen) <= _SEEN_IN_STEPS else self._trusted,
            labels=self._delivered_labels(where.high) if len(self._named) <= _SEEN_IN_STEPS else {},
            due=(self._cursor.due - fresh) | stale,
            gone=self._cursor.gone - fresh,
            unfinished=where,
        )

    def _observations(self, state: SubjectState) -> list[Observation]:
        found = observations(self._name, state, self._relations, self._now())
        return [observation for observation in found if self._is_reported(observation)]

    def _is_reported(self, observation: Observation) -> bool:
        """Whether to report the slot: a first reading leaves out the many slots that hold nothing."""
        return bool(observation.statements) or not self._everything

    def _changed_objects(self) -> dict[str, EntityVersion]:
        """Objects in use whose entity changed since the last pass."""
        if self._cursor.high is None or not self._settings.watch_labels:
            return {}
        since = back(self._cursor.high, self._settings.overlap)
        subjects = sorted({self._cursor.moved.get(id, id) for id in self._watched} - self._cursor.gone)
        return self._reader.changed_objects(subjects, self._relations, self._page, since)

    def _finish(
        self, high: datetime, scan: dict[str, EntityVersion], objects: dict[str, EntityVersion]
    ) -> Iterator[Poll]:
        """Labels of changed objects, and the cursor of a finished pass."""
        delivered = self._delivered_labels(high)
        changed = sorted(id for id, version in objects.items() if delivered.get(id) != version.number)
        for start in range(0, len(changed), _LABELS_IN_STEPS):
            some = self._reader.describe(changed[start : start + _LABELS_IN_STEPS])
            self._named |= {id: described.version for id, described in some.items()}
            # Which version of a label was delivered last must be stored with the label: it may be stale.
            cursor = replace(self._cursor, labels=self._delivered_labels(high))
            yield Poll(
                (),
                cursor.dump(),
                labels=tuple(described.entity for described in some.values()),
                merged_objects=tuple(pair for described in some.values() for pair in described.merged),
            )
        recent = back(high, self._settings.overlap)
        self._cursor = replace(
            self._cursor,
            high=high,
            seen={id: number for id, number in self._seen.items() if _is_recent(scan.get(id), recent)},
            labels={
                id: n for id, n in self._delivered_labels(high).items() if id in objects or id in self._named
            },
            covered=self._watch.text,
            members=self._members(),
            unfinished=None,
        )
        if self._cursor != self._start:
            yield Poll((), self._cursor.dump())

    def _members(self) -> str:
        """The subjects of a watch list that can change by itself, and those that left it and could not be read yet."""
        if not self._settings.selects:
            return ""
        return packed({*self._listed, *(id for id in self._watched if id in self._cursor.due)})

    def _delivered_labels(self, high: datetime) -> dict[str, int]:
        """For each object that changed lately: the version whose label was delivered last."""
        recent = back(high, self._settings.overlap)
        named = {id: v.number for id, v in self._named.items() if v and _is_recent(v, recent)}
        return {id: n for id, n in self._cursor.labels.items() if id not in self._named} | named


def _resolved(id: str, merged: Mapping[str, str]) -> str:
    """What became of a subject, through a chain of merges."""
    for _ in range(_MERGES):
        id = merged.get(id, id)
    return id


def _is_recent(version: EntityVersion | None, since: datetime) -> bool:
    """Whether the next pass will look at this version again."""
    return version is not None and (version.modified is None or version.modified >= since)


def observations(
    source: str, state: SubjectState, relations: Sequence[str], observed: datetime
) -> list[Observation]:
    """A state as one observation for each slot that can be used."""
    return [
        Observation(
            source=source,
            subject=state.subject,
            relation=relation,
            statements=state.slots[relation],
            revision=state.version.number,
            modified=state.version.modified,
            observed=observed,
        )
        for relation in relations
        if relation in state.slots
    ]


def gone(
    source: str, id: str, relations: Sequence[str], revision: int, observed: datetime
) -> list[Observation]:
    """A subject that the source no longer has, as observations of its slots."""
    subject = Entity(id)
    return [Observation(source, subject, r, (), revision, None, observed, gone=True) for r in relations]
