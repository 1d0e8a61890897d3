"""Cuts of the log: events up to a number that were moved into archived files, stated by a signed event.

The event `events.archived` names the files with their digests, the hash and the Merkle root of the log up to the
number, and the file with what the tables have to be there.  The rows over the tree (`subtrees`) stay in the ledger, so
that heads and proofs of later events need no archived file.  What is cut is a multiple of 256 events: every subtree
below the table's lowest level is then on one side of the cut.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, text

from state.archives.files import Archive, ArchivedFile, Segment
from state.hash_chain import canonical
from state.lineage import KINDS, Lineage
from state.tables import Events, table
from state.tables.audit import RARE

EVENTS = table(Events)
KIND = "events.archived"
_SIGNED = ("last", "before", "hash", "root", "state", "segments")


@dataclass(frozen=True, slots=True)
class Cut:
    """The newest cut of a log, with the files of all cuts."""

    last: int
    """The number of the last event that was moved."""
    before: str
    """Every event up to it is older than this instant."""
    hash: str
    """The hash of event `last`."""
    root: str
    """The Merkle root of the first `last` events, in hexadecimal."""
    state: ArchivedFile
    """What the tables have to be after event `last`, and which events up to it stay in the ledger."""
    segments: tuple[Segment, ...]
    """Files with all events from 1 to `last`, in their order."""

    def absent(self, archive: Archive) -> list[str]:
        """The names of segments that are not in the archive's directory."""
        return [one.content.file for one in self.segments if not archive.has(one.content)]

    @property
    def names(self) -> list[str]:
        """The files that are read, if they are there."""
        return [one.file for one in (self.state, *(one.content for one in self.segments)) if one.digest]

    def body(self, changed: Iterable[Segment]) -> dict[str, Any]:
        """The body of the event that states this cut; `changed`: segments that no earlier event states as they are."""
        return {
            "last": self.last,
            "before": self.before,
            "hash": self.hash,
            "root": self.root,
            "state": {"file": self.state.file, "digest": self.state.digest},
            "segments": [
                {
                    "first": one.first,
                    "last": one.last,
                    "before": one.before,
                    "file": one.content.file,
                    "digest": one.content.digest,
                }
                for one in changed
            ],
        }

    def segment_of(self, seq: int) -> Segment:
        """The segment with this event.  Raises LookupError if it was not moved."""
        return next(one for one in self.segments if one.first <= seq <= one.last)


def statement(body: Mapping[str, Any]) -> str:
    """What the operator's key signs of the event's body."""
    return f"archived by kbsync\n{canonical({name: body[name] for name in _SIGNED})}\n"


def signed(body: Mapping[str, Any], signature: bytes) -> dict[str, Any]:
    """The body with the signature of its `statement`."""
    return {**body, "signature": base64.b64encode(signature).decode()}


def cut_of(connection: Connection) -> Cut | None:
    """The newest cut that a key of the log has signed; None: nothing was moved out of the ledger.

    A cut that no key has signed counts for nothing: the events that it would excuse are missing.
    """
    columns = select(EVENTS.c.seq, EVENTS.c.at, EVENTS.c.kind, EVENTS.c.body)
    rows = connection.execute(
        columns.where(text(RARE), EVENTS.c.kind.in_((KIND, *KINDS))).order_by(EVENTS.c.seq)
    ).fetchall()
    stated = [(row.seq, row.body) for row in rows if row.kind == KIND]
    if not stated:
        return None
    lineage = Lineage.of(dict(row._mapping) for row in rows)
    return _newest([body for seq, text in stated if (body := _sound(text, lineage, seq)) is not None])


def archived(connection: Connection) -> int:
    """How many events the newest cut has moved, whoever signed it: their rows may be in the ledger, or not."""
    found = connection.execute(
        select(EVENTS.c.body).where(text(RARE), EVENTS.c.kind == KIND).order_by(EVENTS.c.seq.desc()).limit(1)
    ).scalar()
    try:
        return 0 if found is None else int(json.loads(found)["last"])
    except (ValueError, LookupError, TypeError):
        return 0


def _sound(text: str, lineage: Lineage, seq: int) -> dict[str, Any] | None:
    """The body of a cut, if a key that counted when it was written has signed it."""
    try:
        body: dict[str, Any] = json.loads(text)
        signature = base64.b64decode(body["signature"], validate=True)
        stated = statement(body)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    return body if any(key.has_signed(stated, signature) for key in lineage.trusted(seq)) else None


def _newest(bodies: Sequence[Mapping[str, Any]]) -> Cut | None:
    if not bodies:
        return None
    segments: dict[int, Segment] = {}
    for body in bodies:
        for one in body["segments"]:
            segments[one["first"]] = Segment(
                one["first"], one["last"], one["before"], ArchivedFile(one["file"], one["digest"])
            )
    newest = bodies[-1]
    return Cut(
        newest["last"],
        newest["before"],
        newest["hash"],
        newest["root"],
        ArchivedFile(**newest["state"]),
        tuple(segments[first] for first in sorted(segments)),
    )
