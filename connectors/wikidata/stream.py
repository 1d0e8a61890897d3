"""The mutation stream as a trigger, for watch lists that are too long to poll: kind `wikidata-stream`.

A pass over the watch list comes first, and is repeated every `list_every`.  It reads what the stream does
not contain: subjects new to the list, labels of objects, and changes older than the stream's retention.  In
between, the stream names the entities that changed, and only those are read.  The cursor stores both
positions.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from pydantic import Field

from connectors.border import shown
from connectors.dates import EARLIEST, instant
from connectors.durations import Duration
from connectors.errors import (
    ConnectorError,
    SourceRefused,
    SourceThrottled,
    SourceTimeout,
    SourceUnavailable,
)
from connectors.http.client import Requester, stepwise
from connectors.http.exchange import Deadline
from connectors.http.sse import StreamEvent, follow
from connectors.observations import Health, Poll, Triple
from connectors.settings import Context, HttpUrl
from connectors.wikidata.changed import ChangedReader
from connectors.wikidata.connector import WikidataConnector
from connectors.wikidata.cursor import Cursor
from connectors.wikidata.mutations import Mutation, announced, newest
from connectors.wikidata.positions import StreamPlace
from connectors.wikidata.settings import WatchSettings
from connectors.wikidata.stream_cursor import StreamCursor
from connectors.wikidata.watch import Membership

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
    api: HttpUrl | None = Field(
        None,
        description="Action API of the wiki (api.php): changed entities are read there, fifty per request",
    )
    maxlag: int = Field(5, ge=1, description="`api`: seconds of lag at which the wiki is to refuse requests")
    wiki: str = Field("wikidatawiki", description="Name of the wiki in streams that have events of all wikis")
    entity_prefix: str = Field("wd", description="Prefix of the ids that the stream names")
    list_every: Duration = Field(timedelta(days=1), description="How often the whole watch list is polled")
    retention: Duration = Field(timedelta(days=7), description="How long the stream keeps its events")
    silence_s: float = Field(5.0, gt=0, description="Seconds of silence after which there is no more to read")
    follow_s: float = Field(60.0, gt=0, description="Longest time that one poll follows the stream")
    events_per_step: int = Field(2_000, ge=1, description="Events after which a step is committed")


@dataclass(slots=True)
class _Batch:
    """Events that are committed together."""

    mutations: list[Mutation] = field(default_factory=list)
    last: str | None = None
    """The place after them."""
    gap: bool = False
    """Whether events before one of them are missing."""


class StreamConnector:
    """Kind `wikidata-stream`: everything but `poll` is the watch list's."""

    def __init__(
        self,
        name: str,
        settings: StreamSettings,
        watch_list: WikidataConnector,
        stream: Requester,
        changed: ChangedReader,
        context: Context,
    ) -> None:
        self.name = name
        self._settings = settings
        self._list = watch_list
        self._stream = stream
        self._changed = changed
        self._clock = context.clock

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        requesters = [self._stream, *self._list.requesters, *self._changed.requesters]
        return stepwise(self._poll(cursor), requesters, self._settings.step_deadline_s)

    def rewind(self, cursor: str, to: datetime | None) -> str:
        """The cursor from which everything that changed since `to` (everything, if None) is read again."""
        return StreamCursor.load(cursor).rewound(to).dump()

    def _poll(self, cursor: str | None) -> Iterator[Poll]:
        where = StreamCursor.load(cursor)
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
            _log.warning("%s: the stream does not know its place any more; the watch list is read", self.name)
            yield from self._pass_over_list(replace(where, last=None, at=None, since=None))

    def _list_is_due(self, where: StreamCursor, membership: str) -> bool:
        if where.listed is None or where.watch != membership:
            return True
        now = self._clock.now()
        passed = now - instant(where.listed)
        # A date later than now was written by a clock that was wrong.
        return not timedelta() <= passed < self._settings.list_every or self._is_forgotten(where, now)

    def _is_forgotten(self, where: StreamCursor, now: datetime) -> bool:
        return where.is_forgotten(now, self._settings.retention)

    def _pass_over_list(self, where: StreamCursor) -> Generator[Poll, None, StreamCursor]:
        """The watch list's own poll; returns the cursor after it.

        The place in the stream is taken *before* the pass, so that what changes meanwhile is seen twice
        rather than never.
        """
        begun = self._clock.now()
        if self._is_forgotten(where, begun):
            if where.at is not None:
                _log.warning(
                    "%s: the stream was followed to %s and keeps events for %s only: the versions of all watched "
                    "subjects are compared, and those that changed are read",
                    self.name,
                    where.at,
                    self._settings.retention,
                )
            where = where.restarted(begun - self._settings.overlap)
        # Not `watch`: until the pass is through, the list counts as unread.
        unread = replace(where, watch="")
        for step in self._list.poll(where.list):
            where, unread = (replace(w, list=step.cursor or w.list) for w in (where, unread))
            yield replace(step, cursor=unread.dump() if step.cursor else None)
        where = replace(where, listed=begun.isoformat())
        yield Poll((), where.dump())
        return where

    def _follow(self, where: StreamCursor, watched: frozenset[str]) -> Iterator[Poll]:
        waiting = set(where.due)
        for batch in self._batches(where):
            changed = {
                f"{self._settings.entity_prefix}:{m.entity}": m for m in newest(batch.mutations).values()
            }
            changed = {id: mutation for id, mutation in changed.items() if id in watched}
            waiting -= changed.keys()
            due = {**where.due, **{id: mutation.readable_from for id, mutation in changed.items()}}
            where = replace(where, last=batch.last or where.last, due=due)
            if batch.mutations:
                where = replace(where, at=min(batch.mutations[-1].at, self._clock.now()).isoformat())
            if batch.gap:
                where = where.with_list_unread()
            for some in self._portions(changed):
                found, where = self._changed.read(some, where)
                yield replace(found, cursor=where.dump())
        for some in self._portions({id: _due(id, where.due[id]) for id in waiting & where.due.keys()}):
            found, after = self._changed.read(some, where)
            if after != where:
                where = after
                yield replace(found, cursor=where.dump())

    def _portions(self, changed: Mapping[str, Mutation]) -> Iterator[dict[str, Mutation]]:
        """What one step reads; at least one portion, so that the place in the stream is committed."""
        ids = sorted(changed)
        for start in range(0, max(1, len(ids)), self._list.page):
            yield {id: changed[id] for id in ids[start : start + self._list.page]}

    def _batches(self, where: StreamCursor) -> Iterator[_Batch]:
        """Events in batches, until the stream has caught up with now or falls silent.

        What was read is committed before an error of the stream is raised: a server that refuses every
        second connection would have the same events read for ever.
        """
        now = self._clock.now()
        place, batch, failure, committed = StreamPlace(where.last), _Batch(), None, where.last
        try:
            with Deadline(self._settings.follow_s) as deadline:
                for event in self._events(where, place, deadline):
                    seen = announced(event, self._settings.wiki)
                    follows = place.move(event.id, seen.offset)
                    if follows == "gap":
                        self._report_gap(event)
                        batch.gap = True
                    if seen.mutation is None or follows == "seen":
                        continue
                    batch.mutations.append(seen.mutation)
                    if len(batch.mutations) >= self._settings.events_per_step:
                        committed = place.last_id
                        yield replace(batch, last=committed)
                        batch = _Batch()
                    if now <= seen.mutation.at < now + _IMPLAUSIBLE:
                        break
        except ConnectorError as error:
            failure = error
        if batch.mutations or place.last_id != committed:
            yield replace(batch, last=place.last_id)
        if failure:
            raise failure

    def _report_gap(self, event: StreamEvent) -> None:
        _log.warning(
            "%s: the stream no longer has the events before %s; the next poll compares the versions of all watched "
            "subjects and reads those that changed",
            self.name,
            shown(event.id),
        )

    def _events(self, where: StreamCursor, place: StreamPlace, deadline: Deadline) -> Iterator[StreamEvent]:
        """The stream's events, reconnecting when it breaks off; several failures in a row end the poll."""
        failures = 0
        while not deadline.passed:
            try:
                silence_s = self._settings.silence_s
                for event in follow(self._stream, place.last_id, where.since, silence_s, deadline):
                    failures = 0
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
        self._changed.close()
        self._list.close()


def _due(id: str, revision: int) -> Mutation:
    """A change that an earlier poll could not read."""
    return Mutation(id.rpartition(":")[2], revision, 0, "diff", EARLIEST)
