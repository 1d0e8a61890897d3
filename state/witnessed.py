"""A log compared with what a witness keeps of it: anchors and signed tree heads, in the order of its file.

Everything is compared: the event's hash, the root of the Merkle tree, the signature.  A head of an earlier log, from
before a restore, is compared as far as the backup went; what came after it is lost, and that is in order only if the
same key, or its successor, states so in a later line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from state.hash_chain import instant
from state.lineage import Lineage, origin_of
from state.notes import Note, PublicKey, TreeHead
from state.records import Anchor

RESTORED = "restored"
"""The first word of the line of a head that names an earlier log and how much of it this one has."""


@dataclass
class Log:
    """What is known of the log that is compared."""

    instance: str | None
    """The ledger's; None: that of its last restore, and any where there was none (an export)."""
    lineage: Lineage = field(default_factory=Lineage)
    head: int = 0
    hashes: Mapping[int, str] = field(default_factory=dict)
    """Of the events at the witnessed numbers."""
    roots: Mapping[int, bytes] = field(default_factory=dict)
    """Of the trees of the witnessed sizes."""
    archived: int = 0
    """Events up to this number were moved out of the ledger: what was witnessed of them is compared where hash and
    root are known, and was compared before they were moved."""

    @property
    def origin(self) -> str | None:
        name = self.instance or self.lineage.last
        return None if name is None else origin_of(name)


@dataclass(frozen=True)
class _Line:
    """A line of a witness's file."""

    anchor: Anchor

    @cached_property
    def note(self) -> Note:
        return Note.parse(self.anchor.note)

    @cached_property
    def head(self) -> TreeHead:
        return TreeHead.parse(self.note.text)

    @property
    def origin(self) -> str | None:
        return self.head.origin if self.anchor.note else None

    def limits(self) -> dict[str, int]:
        """How much of earlier logs this head's log has, as it states itself."""
        words = [line.split(" ") for line in self.head.extensions] if self.anchor.note else []
        stated = [word for word in words if len(word) == 3 and word[0] == RESTORED]
        return {origin: int(size) for _, origin, size in stated if re.fullmatch("[0-9]{1,18}", size)}


def contradiction(anchors: Sequence[Anchor], log: Log) -> tuple[int, str] | None:
    """The first number at which a log and what a witness keeps of it disagree, and how; None where all agree."""
    lines = [_Line(anchor) for anchor in anchors]
    if lines and _is_archived(lines[-1], log):
        seq = lines[-1].anchor.seq
        return seq, (
            f"the newest head that was witnessed is of {seq} events, which are archived: put their files back, to "
            "have it compared"
        )
    found = [one for place, line in enumerate(lines) if (one := _judged(line, lines, place, log))]
    return min(found, default=None)


def _is_archived(line: _Line, log: Log) -> bool:
    """Whether nothing is known to compare a head with, because its events were moved out of the ledger.

    A later head of the same witness covers it: no log is cut beyond the newest head of any witness.
    """
    seq = line.anchor.seq
    return seq <= log.archived and (
        seq not in log.hashes or (bool(line.anchor.note) and seq not in log.roots)
    )


def declaration(anchors: Iterable[Anchor], log: Log) -> tuple[str, ...]:
    """The further lines of a head by which an operator declares a restore: how much of each earlier log is left.

    That is for people to declare: whoever can write SQL can write the event of a restore, too.
    """
    found = {line.origin for line in map(_Line, anchors)} - {log.origin, None}
    left = dict.fromkeys(sorted(map(str, found)), 0) | log.lineage.limits
    return tuple(f"{RESTORED} {origin} {size}" for origin, size in left.items())


def _judged(line: _Line, lines: Sequence[_Line], place: int, log: Log) -> tuple[int, str] | None:
    anchor, limit = line.anchor, log.head
    if _is_archived(line, log):
        return None
    origin = line.origin
    if origin is not None and log.origin is not None and origin != log.origin:
        if origin not in log.lineage.limits:
            if _is_declared_lost(anchor.seq, lines, place, log):
                return None
            return (
                anchor.seq,
                f"{anchor.seq} events of another log, {origin}, were witnessed, not of {log.origin}",
            )
        limit = log.lineage.limits[origin]
    if anchor.seq > limit:
        if _is_declared_lost(anchor.seq, lines, place, log):
            return None
        return limit + 1, f"the log ends at {limit} but {anchor.seq} was anchored: its tail was cut"
    if log.hashes.get(anchor.seq) != anchor.hash:
        if origin is None and _is_declared_lost(anchor.seq, lines, place, log):
            return None
        return anchor.seq, (
            f"event {anchor.seq} is not the one that was anchored at {instant(anchor.at)}: "
            "history was rewritten"
        )
    return _wrong_head(line, log) if anchor.note else None


def _wrong_head(line: _Line, log: Log) -> tuple[int, str] | None:
    """What is wrong with a signed head whose event is the log's."""
    seq = line.anchor.seq
    if line.head.root != log.roots.get(seq):
        return seq, (
            f"the first {seq} events are not those whose head was signed at {instant(line.anchor.at)}: "
            "history was rewritten"
        )
    if line.note.signed_by(log.lineage.trusted(seq)) is None:
        names = ", ".join(name for name, _, _ in line.note.signatures)
        return (
            seq,
            f"the head of {seq} events is signed by {names}, which is not a key of this log or was revoked",
        )
    return None


def _is_declared_lost(seq: int, lines: Sequence[_Line], place: int, log: Log) -> bool:
    """Whether a later head of a log that this one descends from, or of this one, states that a restore lost the event.

    Its key has to be one that signed for this witness before, or a successor of one.
    """
    known: list[PublicKey] = []
    for at, line in enumerate(lines):
        if not line.anchor.note:
            continue
        key = line.note.signed_by(log.lineage.trusted(line.anchor.seq))
        if key is None:
            continue
        declares = any(seq > size for size in line.limits().values())
        if at > place and declares and log.lineage.descends(key, known):
            return True
        known.append(key)
    return False
