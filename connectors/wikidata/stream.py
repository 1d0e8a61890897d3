"""The mutation stream as a trigger, for watch lists that are too long to poll: kind `wikidata-stream`.

A pass over the watch list comes first, and is repeated every `list_every`.  It reads what the stream does
not contain: subjects new to the list, labels of objects, and changes older than the stream's retention.  In
between, the stream names the entities that changed, and only those are read.  The cursor stores both
positions.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Literal

from pydantic import Field

from connectors.cursors import dump_cursor, load_cursor, typed
from connectors.dates import EARLIEST, instant
from connectors.durations import Duration
from connectors.errors import (
    ConnectorError,
    SourceDataError,
    SourceRefused,
    SourceThrottled,
    SourceTimeout,
    SourceUnavailable,
)
from connectors.http.client import Requester, stepwise
from connectors.http.exchange import Deadline
from connectors.http.sse import StreamEvent, follow
from connectors.observations import Health, Observation, Poll, Triple
from connectors.settings import Context, HttpUrl
from connectors.wikidata.connector import WikidataConnector
from connectors.wikidata.cursor import Cursor
from connectors.wikidata.entity_data import EntityData
from connectors.wikidata.mutations import Mutation, mutation_of, newest
from connectors.wikidata.passes import gone
from connectors.wikidata.reader import SubjectState
from connectors.wikidata.settings import WatchSettings
from connectors.wikidata.watch import Membership

_FORMAT = 1
_log = logging.getLogger(__name__)
_IMPLAUSIBLE = timedelta(days=1)
"""An event dated later than that does not show that the stream has caught up with now."""
_UNKNOWN_PLACE = (400, 404, 410, 416)
"""Statuses with which a stream may refuse a Last-Event-ID that it does not know."""


class StreamSettings(WatchSettings):
    """A watch list, and the stream of changes that triggers the reading of its subjects."""

    kind: Literal["wikidata-stream"]
    stream: HttpUrl = Field(
        "https://stream.wikimedia.org/v2/stream/rdf-streaming-updater.mutation.v2",
        description="Address of the event stream",
    )
    entity_data: HttpUrl | None = Field(
        None,
        description="Special:EntityData of the wiki: changed entities are read there, by revision",
    )
    entity_prefix: str = Field("wd", description="Prefix of the ids that the stream names")
    list_every: Duration = Field(timedelta(days=1), description="How often the whole watch list is polled")
    retention: Duration = Field(timedelta(days=7), description="How long the stream keeps its events")
    silence_s: float = Field(5.0, gt=0, description="Seconds of silence after which there is no more to read")
    follow_s: float = Field(60.0, gt=0, description="Longest time that one poll follows the stream")
    events_per_step: int = Field(2_000, ge=1, description="Events after which a step is committed")


@dataclass(frozen=True, slots=True)
class _Cursor:
    list: str | None = None
    """The watch list's own cursor."""
    listed: str | None = None
    """When the last pass over the watch list began."""
    watch: str = ""
    """Membership of that pass."""
    last: str | None = None
    """Last-Event-ID."""
    since: str | None = None
    """Where to begin when no event was seen yet."""
    at: str | None = None
    """The time of the last event."""
    due: dict[str, int] = field(default_factory=dict)
    """Subjects that changed to a revision which could not be read yet."""

    def dump(self) -> str:
        return dump_cursor(_FORMAT, asdict(self))

    @classmethod
    def load(cls, text: str | None) -> _Cursor:
        return load_cursor(text, _FORMAT, typed(cls), (part.name for part in fields(cls)))


def after_list(list_cursor: str) -> str:
    """The cursor of a source whose watch list stands at `list_cursor`, and whose stream was never followed.

    The next poll begins with a pass over the list.
    """
    return _Cursor(list=list_cursor).dump()


class StreamConnector:
    """Kind `wikidata-stream`: everything but `poll` is the watch list's."""

    def __init__(
        self,
        name: str,
        settings: StreamSettings,
        watch_list: WikidataConnector,
        stream: Requester,
        entity_data: EntityData | None,
        context: Context,
    ) -> None:
        self.name = name
        self._settings = settings
        self._list = watch_list
        self._stream = stream
        self._entity_data = entity_data
        self._clock = context.clock

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        requesters = [self._stream, self._list.requester]
        if self._entity_data:
            requesters.append(self._entity_data.requester)
        return stepwise(self._poll(cursor), requesters, self._settings.step_deadline_s)

    def _poll(self, cursor: str | None) -> Iterator[Poll]:
        where = _Cursor.load(cursor)
        watched = self._list.watched()
        membership = Membership(watched, self._list.relations).text
        if self._list_is_due(where, membership):
            where = yield from self._pass_over_list(replace(where, watch=membership))
        try:
            # What watched subjects were merged into is watched as well.
            heirs = Cursor.load(where.list).moved.values()
            yield from self._follow(where, frozenset((*watched, *heirs)))
        except SourceRefused as error:
            if where.last is None or error.status not in _UNKNOWN_PLACE:
                raise
            # The stream does not know our position any more: the watch list shows what we missed.
            yield from self._pass_over_list(replace(where, last=None, at=None, since=None))

    def _list_is_due(self, where: _Cursor, membership: str) -> bool:
        if where.listed is None or where.watch != membership:
            return True
        now = self._clock.now()
        passed = now - instant(where.listed)
        # A date later than now was written by a clock that was wrong.
        return not timedelta() <= passed < self._settings.list_every or self._forgotten(where, now)

    def _forgotten(self, where: _Cursor, now: datetime) -> bool:
        """Whether the stream may no longer hold the events after our position in it."""
        place = where.at or where.since
        return place is None or not timedelta() <= now - instant(place) < self._settings.retention

    def _pass_over_list(self, where: _Cursor) -> Generator[Poll, None, _Cursor]:
        """The watch list's own poll; returns the cursor after it.

        The place in the stream is taken *before* the pass, so that what changes meanwhile is seen twice
        rather than never.
        """
        begun = self._clock.now()
        if self._forgotten(where, begun):
            where = replace(where, last=None, at=None, since=(begun - self._settings.overlap).isoformat())
        # Not `watch`: until the pass is through, the list counts as unread.
        unread = replace(where, watch="")
        for step in self._list.poll(where.list):
            where, unread = (replace(w, list=step.cursor or w.list) for w in (where, unread))
            yield replace(step, cursor=unread.dump() if step.cursor else None)
        where = replace(where, listed=begun.isoformat())
        yield Poll((), where.dump())
        return where

    def _follow(self, where: _Cursor, watched: frozenset[str]) -> Iterator[Poll]:
        waiting = set(where.due)
        for mutations, last in self._batches(where):
            changed = {f"{self._settings.entity_prefix}:{m.entity}": m for m in newest(mutations).values()}
            changed = {id: mutation for id, mutation in changed.items() if id in watched}
            waiting -= changed.keys()
            at = min(mutations[-1].at, self._clock.now()).isoformat()
            due = where.due | {id: mutation.revision for id, mutation in changed.items()}
            where = replace(where, last=last or where.last, at=at, due=due)
            for some in self._portions(changed):
                found, where = self._read_changed(some, where)
                yield replace(found, cursor=where.dump())
        for some in self._portions({id: _due(id, where.due[id]) for id in waiting & where.due.keys()}):
            found, after = self._read_changed(some, where)
            if after != where:
                where = after
                yield replace(found, cursor=where.dump())

    def _portions(self, changed: Mapping[str, Mutation]) -> Iterator[dict[str, Mutation]]:
        """What one step reads; at least one portion, so that the place in the stream is committed."""
        ids = sorted(changed)
        for start in range(0, max(1, len(ids)), self._list.page):
            yield {id: changed[id] for id in ids[start : start + self._list.page]}

    def _read_changed(self, changed: Mapping[str, Mutation], where: _Cursor) -> tuple[Poll, _Cursor]:
        """(a step about the changed subjects, the cursor, in which those that could not be read are due).

        A subject that is not there was deleted, or merged into another: only the query service knows
        which, and a merge is for the pass over the watch list.
        """
        found: list[Observation] = []
        merged: list[tuple[str, str]] = []
        for id, mutation in changed.items():
            state = None if mutation.operation == "delete" else self._read(id, mutation)
            if state is not None:
                found += self._list.observations(state, self._list.relations)
                merged += state.merged
                if state.version.number >= mutation.revision:
                    where = _without(where, id)
                continue
            known = self._list.reader.versions([id])
            if id in known.merged:
                where = replace(_without(where, id), watch="")
            elif id not in known.found and id not in known.unreadable:
                revision = mutation.revision + 1
                found += gone(self.name, id, self._list.relations, revision, self._clock.now())
                where = _with_gone(_without(where, id), id)
        return Poll(tuple(found), None, merged_objects=tuple(merged)), where

    def _read(self, id: str, mutation: Mutation) -> SubjectState | None:
        """Read the entity from the wiki by revision if configured, else from the query service, which may lag."""
        relations = self._list.relations
        if self._entity_data:
            try:
                found = self._entity_data.state(id, mutation.revision, relations)
            except SourceDataError as error:
                _log.warning("%s cannot be read at the wiki: %s", id, error)
                found = None
            if found is not None:
                return found
        return next((r.get(id) for _, r in self._list.reader.states([id], relations, 1)), None)

    def _batches(self, where: _Cursor) -> Iterator[tuple[list[Mutation], str | None]]:
        """(mutations, id of the last event), until the stream has caught up with now or falls silent.

        What was read is committed before an error of the stream is raised: a server that refuses every
        second connection would have the same events read for ever.
        """
        now = self._clock.now()
        batch: list[Mutation] = []
        last, failure = where.last, None
        try:
            with Deadline(self._settings.follow_s) as deadline:
                for event in self._events(where, deadline):
                    last = event.id or last
                    mutation = mutation_of(event)
                    if mutation is None:
                        continue
                    batch.append(mutation)
                    if len(batch) >= self._settings.events_per_step:
                        yield batch, last
                        batch = []
                    if now <= mutation.at < now + _IMPLAUSIBLE:
                        break
        except ConnectorError as error:
            failure = error
        if batch:
            yield batch, last
        if failure:
            raise failure

    def _events(self, where: _Cursor, deadline: Deadline) -> Iterator[StreamEvent]:
        """The stream's events, reconnecting when it breaks off; several failures in a row end the poll."""
        last, failures = where.last, 0
        while not deadline.passed:
            try:
                for event in follow(self._stream, last, where.since, self._settings.silence_s, deadline):
                    failures, last = 0, event.id or last
                    yield event
            except SourceTimeout:
                return  # silence: nothing more for now
            except SourceUnavailable as error:
                if failures + 1 >= self._stream.limits.attempts:
                    raise
                if isinstance(error, SourceThrottled):
                    self._stream.limiter.hold_off(error.retry_after_s)
            failures += 1
            if failures >= self._stream.limits.attempts:
                return  # it ends again and again without an event: there is nothing more
            self._clock.sleep(min(self._stream.limits.max_wait_s, 0.5 * 2.0**failures))

    def snapshot(self, slots: Iterable[tuple[str, str]]) -> Iterator[Poll]:
        return self._list.snapshot(slots)

    def neighbours(self, relation: str, object_id: str | None, limit: int) -> tuple[Triple, ...]:
        return self._list.neighbours(relation, object_id, limit)

    def facts_of(self, subject_id: str, limit: int) -> tuple[Triple, ...]:
        return self._list.facts_of(subject_id, limit)

    def check(self) -> Health:
        return self._list.check()

    def close(self) -> None:
        self._stream.close()
        if self._entity_data:
            self._entity_data.close()
        self._list.close()


def _without(where: _Cursor, id: str) -> _Cursor:
    """The cursor with `id` read."""
    return replace(where, due={due: revision for due, revision in where.due.items() if due != id})


def _with_gone(where: _Cursor, id: str) -> _Cursor:
    """The cursor whose watch list knows that `id` is gone, and so looks for its return."""
    if where.list is None:
        return where
    watch_list = Cursor.load(where.list)
    return replace(where, list=replace(watch_list, gone=watch_list.gone | {id}).dump())


def _due(id: str, revision: int) -> Mutation:
    """A change that an earlier poll could not read."""
    return Mutation(id.rpartition(":")[2], revision, 0, "diff", EARLIEST)
