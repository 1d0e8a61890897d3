"""The cursor of a watch list, and the plan of which subjects the next poll reads.

All functions are pure: `plan` decides from the cursor and a scan of versions.  Times are the source's
own, since clocks differ.  Four rules together ensure that equal timestamps lose nothing:

* subjects are read in the order (modified, id), and each step's cursor names the last one read;
* each pass looks back by an overlap, because replicas lag, and reads a subject again unless exactly the
  version that it shows was already delivered;
* a pass that was interrupted skips only what it had read *before* its own overlap;
* a subject that a lagging replica showed in an older version than the scan stays due until it is read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from connectors.border import whole_number
from connectors.cursors import dump_cursor, load_cursor, pack, typed, unpack
from connectors.dates import EARLIEST, instant
from connectors.wikidata.rows import MAX_VERSION, EntityVersion
from connectors.wikidata.watch import Membership

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A pass that was not finished when this cursor was written."""

    after: tuple[datetime, str]
    """(modified, id) of the last subject read."""
    high: datetime
    """The newest change at the time when the pass began."""
    watch: str
    """The watch list membership that the pass used."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Everything a poll needs to know; ids are CURIEs."""

    high: datetime | None = None
    """The newest change that a finished pass has seen; None before the first one."""
    seen: Mapping[str, int] = field(default_factory=dict)
    """Versions already delivered of what changed within the overlap before `high`."""
    labels: Mapping[str, int] = field(default_factory=dict)
    """The same of objects: the versions that the labels delivered *last* are of."""
    covered: str = ""
    """Membership of the finished passes."""
    members: str = ""
    """The subjects of a watch list that is a query, packed: one that leaves it is read once more."""
    due: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    """Watched, and absent at the source."""
    moved: Mapping[str, str] = field(default_factory=dict)
    """Merged subjects: old id → new id."""
    newest: int = 0
    """The highest version ever seen."""
    unfinished: Unfinished | None = None
    imported: str = ""
    """The subjects that a dump stated, with their revisions, packed (`revisions_in`); until the next pass only, which
    reads those that have another version by now."""

    def dump(self) -> str:
        """Canonical text: equal cursors are equal strings."""
        fields: dict[str, object] = {
            "high": self.high and self.high.isoformat(),
            "seen": dict(self.seen),
            "labels": dict(self.labels),
            "covered": self.covered,
            "members": self.members,
            "due": sorted(self.due),
            "gone": sorted(self.gone),
            "moved": dict(self.moved),
            "newest": self.newest,
        }
        if self.unfinished:
            at, id = self.unfinished.after
            high = self.unfinished.high.isoformat()
            fields["unfinished"] = [at.isoformat(), id, high, self.unfinished.watch]
        if self.imported:
            fields["imported"] = self.imported
        return dump_cursor(_FORMAT, fields)

    @classmethod
    def load(cls, text: str | None) -> Cursor:
        """The cursor again.  Raises SourceDataError for a text that no `dump` has written."""
        if text is None:
            return cls()
        optional = ("unfinished", "imported")
        required = (part.name for part in dataclasses.fields(cls) if part.name not in optional)
        return load_cursor(text, _FORMAT, cls._of, required)

    @classmethod
    def _of(cls, *, high: str | None, due: list[str], gone: list[str], **fields: Any) -> Cursor:
        under_way = fields.pop("unfinished", None)
        return typed(cls)(
            high=instant(high) if high else None,
            due=frozenset(due),
            gone=frozenset(gone),
            unfinished=under_way
            and Unfinished((instant(under_way[0]), under_way[1]), instant(under_way[2]), under_way[3]),
            **fields,
        )


def after_import(revisions: Iterable[tuple[str, int]], high: datetime) -> Cursor:
    """The cursor of a source whose subjects were read from a dump, at these revisions.

    `high`: an instant before which all changes are in the dump.
    """
    known = dict(revisions)
    text = "\n".join(f"{id} {revision}" for id, revision in sorted(known.items()))
    return Cursor(high=high, newest=max(known.values(), default=0), imported=pack(text))


def revisions_in(packed: str) -> dict[str, int]:
    """The revisions that `after_import` was given; none for an empty text."""
    if not packed:
        return {}
    rows = (line.rpartition(" ") for line in unpack(packed).splitlines())
    return {id: whole_number(revision, "imported", MAX_VERSION) for id, _, revision in rows}


def rewound(cursor: Cursor, to: datetime | None) -> Cursor:
    """The cursor from which everything that changed since `to` (everything, if None) is read again.

    What is known to be gone or merged stays known, so that a return is noticed.
    """
    high = None if to is None or cursor.high is None else min(to, cursor.high)
    return dataclasses.replace(cursor, high=high, seen={}, labels={}, unfinished=None)


@dataclass(frozen=True, slots=True)
class PassPlan:
    """Subjects to read, in order, and the newest change that the scan saw."""

    changes: tuple[tuple[datetime, str], ...]
    high: datetime


def plan_pass(
    cursor: Cursor, scan: Mapping[str, EntityVersion], watch: Membership, overlap: timedelta, now: datetime
) -> PassPlan:
    """Which of the scanned subjects to read now.

    Changes that are dated later than now count as now: one wrong date must not hide all later changes.
    """
    high = max((v.modified for v in scan.values() if v.modified), default=EARLIEST)
    if cursor.high:
        cursor = dataclasses.replace(cursor, high=min(cursor.high, now))
        high = max(high, cursor.high or EARLIEST)
    high = min(high, now)
    seen = trusted_seen(cursor, watch)
    changes = sorted(
        (version.modified or EARLIEST, id)
        for id, version in scan.items()
        if seen.get(id) != version.number or id in cursor.due or id in cursor.gone
        if _is_news(cursor, id, version, watch, overlap)
    )
    return PassPlan(tuple(_not_yet_read(cursor, changes, watch, overlap)), high)


def trusted_seen(cursor: Cursor, watch: Membership) -> Mapping[str, int]:
    """The versions that were delivered *in the relations watched now*: all, or those of covered subjects."""
    same_pass = cursor.unfinished is not None and cursor.unfinished.watch == watch.text
    if same_pass or watch.text == cursor.covered:
        return cursor.seen
    return {id: number for id, number in cursor.seen.items() if watch.is_covered_by(cursor.covered, id)}


def _is_news(cursor: Cursor, id: str, version: EntityVersion, watch: Membership, overlap: timedelta) -> bool:
    if id in cursor.due or id in cursor.gone or cursor.high is None:
        return True
    if not watch.is_covered_by(cursor.covered, id):
        return True
    return version.modified is None or version.modified >= back(cursor.high, overlap)


def _not_yet_read(
    cursor: Cursor, changes: Iterable[tuple[datetime, str]], watch: Membership, overlap: timedelta
) -> Iterable[tuple[datetime, str]]:
    pass_ = cursor.unfinished
    if pass_ is None or pass_.watch != watch.text:
        return changes
    safe = back(pass_.high, overlap)
    return (
        (at, id)
        for at, id in changes
        if (at, id) > pass_.after or at >= safe or id in cursor.due or id in cursor.gone
    )


def back(at: datetime, overlap: timedelta) -> datetime:
    """`at` less the overlap, as far as a datetime can go."""
    return at - overlap if at - EARLIEST > overlap else EARLIEST
