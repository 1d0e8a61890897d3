"""Places in an event stream, as Kafka offsets: the value of `Last-Event-ID` after which reading continues.

EventStreams (`wikimedia/KafkaSSE`, `_updateLatestOffsetsMap`) names a place in an event's id as a list of partitions,
each either with the offset *or with the millisecond* from which to go on, and the millisecond is that of the last event
plus one: where several events share a millisecond, those not yet sent would be lost.  Every event also says in its
`meta` at which offset of which partition it stands, so the place is kept by offsets whatever form the id has.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from connectors.border import decode_json
from connectors.errors import SourceDataError

_MAX_BYTES = 2**16
MISSING = 100
"""Offsets that may be missing between two events of a partition: EventStreams leaves out canary events, for example.
More are a gap, in which the stream no longer has what happened."""

Partition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Offset:
    """Where one event stands."""

    partition: Partition
    offset: int

    @classmethod
    def of(cls, meta: object) -> Offset | None:
        """From an event's `meta`; None where it does not say."""
        if not isinstance(meta, dict):
            return None
        topic, number, offset = (meta.get(name) for name in ("topic", "partition", "offset"))
        if isinstance(topic, str) and type(number) is int and type(offset) is int and offset >= 0:
            return cls((topic, number), offset)
        return None


class StreamPlace:
    """A place in a stream that moves with each event; `last_id` is what to ask the stream to continue after."""

    def __init__(self, last_id: str | None) -> None:
        self._id = last_id
        self._next = _offsets(last_id)

    @property
    def last_id(self) -> str | None:
        """The id of the last event, in which partitions are named by offset as far as these are known."""
        entries = _entries(self._id)
        if not self._next or not (entries or self._id is None):
            return self._id
        named = {(entry["topic"], entry["partition"]): entry for entry in entries}
        by_offset = {
            (topic, number): {"topic": topic, "partition": number, "offset": offset}
            for (topic, number), offset in self._next.items()
        }
        return json.dumps([one for _, one in sorted((named | by_offset).items())], separators=(",", ":"))

    def move(self, id: str, offset: Offset | None) -> Literal["next", "seen", "gap"]:
        """Continue after this event; says whether it was seen before, or events before it are missing.

        A partition whose offsets restart, much lower than before, has a gap as well.
        """
        self._id = id or self._id
        if offset is None:
            self._next |= _offsets(id)
            return "next"
        ahead = offset.offset - self._next.get(offset.partition, offset.offset)
        if -MISSING <= ahead < 0:
            return "seen"
        self._next[offset.partition] = offset.offset + 1
        return "next" if 0 <= ahead <= MISSING else "gap"


def _offsets(id: str | None) -> dict[Partition, int]:
    """The offsets that an id names."""
    return {
        (entry["topic"], entry["partition"]): entry["offset"]
        for entry in _entries(id)
        if type(entry.get("offset")) is int and entry["offset"] >= 0
    }


def _entries(id: str | None) -> list[Mapping[str, Any]]:
    """The partitions that an id names; none for an id of another form, which is sent back as it came."""
    if not id:
        return []
    try:
        found = decode_json(id, "Last-Event-ID", _MAX_BYTES)
    except SourceDataError:
        return []
    entries: Iterable[Any] = found if isinstance(found, list) else ()
    named: list[Mapping[str, Any]] = [one for one in entries if isinstance(one, dict)]
    if not all(isinstance(one.get("topic"), str) and type(one.get("partition")) is int for one in named):
        return []
    return named
