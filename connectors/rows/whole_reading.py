"""Comparison of complete readings, for sources that can only be read as a whole.

The cursor stores each slot with a digest of its contents, compressed to about ten bytes per slot.
Comparing a new reading with it finds changed *and* vanished slots; an `updated_at` column cannot show
vanished ones.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from connectors.border import decode_json
from connectors.cursors import dump_cursor, load_cursor, pack, typed, unpack
from connectors.errors import SourceDataError
from connectors.observations import Entity, Observation, Poll, SlotKey, Statement
from connectors.rows.mapping import Mapper

_FORMAT = 1
_FEW = 5
"""Number of slots that may always vanish at once, from any source."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WholeCursor:
    """The cursor of a source that is read whole."""

    revision: int = 0
    """The last revision assigned.  Such sources have no revisions, so the clock provides them."""
    digests: Mapping[SlotKey, str] = field(default_factory=dict)

    def dump(self) -> str:
        pairs = sorted((subject, relation, digest) for (subject, relation), digest in self.digests.items())
        held = pack(json.dumps(pairs, separators=(",", ":")))
        return dump_cursor(_FORMAT, {"revision": self.revision, "held": held})

    @classmethod
    def load(cls, text: str | None) -> WholeCursor:
        """Raises SourceDataError for a text that no `dump` has written."""
        return load_cursor(text, _FORMAT, cls._unpacked, ("revision", "held"))

    @classmethod
    def _unpacked(cls, revision: int = 0, held: str | None = None) -> WholeCursor:
        if held is None:
            return cls(revision)
        pairs = decode_json(unpack(held), "held", 2**30, most_parts=None)
        return typed(cls)(revision=revision, digests={(s, relation): digest for s, relation, digest in pairs})


def next_revision(now: datetime, last: int) -> int:
    """Microseconds since 1970, but always more than `last`: clocks stand still and go back."""
    return max(int(now.timestamp() * 1_000_000), last + 1)


def digest(observation: Observation) -> str:
    """Over everything that the slot holds, its subject's names included."""
    subject = observation.subject
    parts = [subject.label, subject.aliases, *(_parts(statement) for statement in observation.statements)]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:12]


def _parts(statement: Statement) -> list[object]:
    object_ = statement.object
    return [
        statement.id,
        object_ and [object_.id, object_.label, object_.aliases],
        statement.rank,
        statement.start,
        statement.end,
        statement.references,
    ]


def differences(
    held: WholeCursor, now: list[Observation], revision: int, kept: Iterable[SlotKey] = ()
) -> tuple[list[Observation], list[SlotKey], WholeCursor]:
    """(observations that differ from what was held, slots that vanished, what is held now).

    Slots in `kept` could not be read this time and stay as they were.
    """
    digests = {(o.subject.id, o.relation): digest(o) for o in now}
    kept_digests = {slot: held.digests[slot] for slot in kept if slot in held.digests}
    changed = [
        observation
        for observation, fresh in zip(now, digests.values(), strict=True)
        if held.digests.get((observation.subject.id, observation.relation)) != fresh
    ]
    vanished = sorted(held.digests.keys() - digests.keys() - kept_digests.keys())
    return changed, vanished, WholeCursor(revision, kept_digests | digests)


def rewound(cursor: str) -> str:
    """The cursor from which everything is delivered again; slots that are gone by then are still emptied."""
    held = WholeCursor.load(cursor)
    return WholeCursor(held.revision, dict.fromkeys(held.digests, "")).dump()


def announced(held: WholeCursor, changed: Iterable[Observation], revision: int) -> WholeCursor:
    """What is held while `changed` is being delivered in several steps.

    A reading that is cut off has delivered slots that its last cursor does not know of; if one of them is
    emptied before the next reading, that would go unnoticed.  So before the first step all of them are
    recorded with a digest that equals none: the next reading delivers each of them again, or as empty.
    """
    return WholeCursor(revision, dict(held.digests) | {(o.subject.id, o.relation): "" for o in changed})


@dataclass(frozen=True, slots=True)
class WholeReading:
    """Turns one reading of everything into the steps of a poll."""

    source: str
    step: int
    """Slots in a step."""
    max_vanished: float
    """Maximum share of the slots that may vanish at once."""

    def steps(self, mapper: Mapper, held: WholeCursor, now: datetime) -> Iterator[Poll]:
        """What changed since `held`, in steps that can each be committed.

        Raises SourceDataError when no row could be used, or more slots vanished than `max_vanished` allows.
        """
        revision = next_revision(now, held.revision)
        changed, holds = self.compare(mapper, held, revision, now)
        reject = report_rejects(self.source, mapper)
        if not changed and reject:
            yield Poll((), None, rejected=mapper.rejected, reject=reject)
        if len(changed) > self.step:
            yield Poll((), announced(held, changed, revision).dump())
        for start in range(0, len(changed), self.step):
            some = tuple(changed[start : start + self.step])
            if start + self.step < len(changed):
                yield Poll(some, None)
            else:
                yield Poll(some, holds.dump(), rejected=mapper.rejected, reject=reject)

    def snapshot(self, mapper: Mapper, asked: set[SlotKey], now: datetime) -> Poll:
        """The slots asked for: one that was not found holds nothing now, one that was unusable is left out.

        Raises SourceDataError when none of many is found.
        """
        revision = next_revision(now, 0)
        found = {(o.subject.id, o.relation): o for o in mapper.observations(revision, now)}
        report_rejects(self.source, mapper, require_one=False)
        held = {slot: observation for slot, observation in found.items() if slot in asked}
        missing = asked - held.keys() - set(mapper.unusable)
        if len(missing) > _FEW and not held and self.max_vanished < 1:
            raise SourceDataError(
                f"{self.source}: none of the {len(asked)} requested slots holds anything, which is "
                "treated as an error of the source"
            )
        empty = {s: Observation(self.source, Entity(s[0]), s[1], (), revision, None, now) for s in missing}
        return Poll(tuple((held | empty)[slot] for slot in sorted(held.keys() | empty.keys())), None)

    def compare(
        self, mapper: Mapper, held: WholeCursor, revision: int, now: datetime
    ) -> tuple[list[Observation], WholeCursor]:
        """(what changed, vanished slots included; what is held now)."""
        observations = mapper.observations(revision, now)
        changed, vanished, holds = differences(held, observations, revision, mapper.unusable)
        if len(vanished) > max(_FEW, self.max_vanished * len(held.digests)):
            raise SourceDataError(
                f"{self.source}: {len(vanished)} of {len(held.digests)} slots vanished at once, "
                f"{vanished[0]} among them, which is treated as an error of the source. "
                "If they are really gone, raise `max_vanished`"
            )
        changed += [
            Observation(self.source, Entity(subject), relation, (), revision, None, now)
            for subject, relation in vanished
        ]
        return changed, holds


def first_reject(source: str, mapper: Mapper) -> str:
    """How many rows cannot be used, and why the first of them; empty if all can."""
    if not mapper.rejected:
        return ""
    first = mapper.rejects[0]
    count = f"{mapper.rejected} of {mapper.rows} rows cannot be used"
    return f"{source}: {count}; row {first.line}: {first.reason}"


def report_rejects(source: str, mapper: Mapper, *, require_one: bool = True) -> str:
    """Warn of rows that were left out, and return the warning; empty if none was.

    Raises SourceDataError when one row is required and all were left out.
    """
    if not (message := first_reject(source, mapper)):
        return ""
    if require_one and mapper.rejected >= mapper.rows:
        raise SourceDataError(message)
    _log.warning(message)
    return message
