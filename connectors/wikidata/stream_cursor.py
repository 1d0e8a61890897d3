"""The cursor of a followed watch list: the list's own, the place in the stream, and what is still to be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta

from connectors.cursors import dump_cursor, load_cursor, typed
from connectors.dates import instant
from connectors.wikidata.cursor import Cursor, rewound

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class StreamCursor:
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
    due: Mapping[str, int] = field(default_factory=dict)
    """Subjects that changed to a revision which could not be read yet."""

    def dump(self) -> str:
        return dump_cursor(_FORMAT, asdict(self))

    @classmethod
    def load(cls, text: str | None) -> StreamCursor:
        """Raises SourceDataError for a text that no `dump` has written."""
        return load_cursor(text, _FORMAT, typed(cls), (part.name for part in fields(cls)))

    def is_forgotten(self, now: datetime, retention: timedelta) -> bool:
        """Whether a stream that keeps its events for `retention` may no longer have those after this place."""
        place = self.at or self.since
        return place is None or not timedelta() <= now - instant(place) < retention

    def restarted(self, since: datetime) -> StreamCursor:
        """The cursor that restarts the stream at an instant."""
        return replace(self, last=None, at=None, since=since.isoformat())

    def with_list_unread(self) -> StreamCursor:
        """The cursor whose next poll begins with a pass over the watch list."""
        return replace(self, watch="")

    def without(self, id: str) -> StreamCursor:
        """The cursor with `id` read."""
        return replace(self, due={due: revision for due, revision in self.due.items() if due != id})

    def with_gone(self, id: str) -> StreamCursor:
        """The cursor whose watch list knows that `id` is gone, and so looks for its return."""
        if self.list is None:
            return self
        watch_list = Cursor.load(self.list)
        return replace(self, list=replace(watch_list, gone=watch_list.gone | {id}).dump())

    def rewound(self, to: datetime | None) -> StreamCursor:
        """The cursor from which everything that changed since `to` (everything, if None) is read again."""
        watch_list = None if self.list is None else rewound(Cursor.load(self.list), to).dump()
        back = replace(self, list=watch_list).with_list_unread()
        return back if to is None else back.restarted(to)


def after_list(list_cursor: str) -> str:
    """The cursor of a source whose watch list stands at `list_cursor`, and whose stream was never followed.

    The next poll begins with a pass over the list.
    """
    return StreamCursor(list=list_cursor).dump()
