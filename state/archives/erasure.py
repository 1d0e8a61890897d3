"""Erasing a subject from the files of archived events: each that has something of it is written again, without.

The files are complete before the transaction that names them ends, and the old ones are deleted after it
(`State.tidy_archive`), so a process that dies in between leaves a log that verifies.  A file that was away keeps its
words, as a backup does; the log then refuses it for ever.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from state.archives.cuts import Cut
from state.archives.files import ArchivedFile, Segment, line_of
from state.archives.transitions import CutTransitions
from state.errors import Inconsistent
from state.event_erasure import Sign
from state.log_proofs import events
from state.redaction import Erasure
from state.replay import FACT


@dataclass
class ErasedEvents:
    """What an erasure has found in the log."""

    changed: list[dict[str, Any]] = field(default_factory=list)
    """What is left of each event that had something of the subject."""
    unsalted: set[int] = field(default_factory=set)
    """Events whose seals lose their salt, since they seal rows that were erased."""
    others: dict[str, set[str]] = field(default_factory=dict)
    """Keys, by table, of the rows that such an event seals: they are sealed again."""

    def seals(self, table: str, keys: Collection[str]) -> None:
        self.others.setdefault(table, set()).update(keys)


class ArchiveErasure(CutTransitions):
    def _whole_log(self) -> Iterator[dict[str, Any]]:
        """Every event that can be read: of archived ones, those whose file is there or that stayed in the ledger."""
        cut = self.cut()
        there = (
            {} if cut is None else {one.first: one for one in cut.segments if self.archive.has(one.content)}
        )
        for row in events(self.connection):
            if cut is None or row["seq"] > cut.last or cut.segment_of(row["seq"]).first not in there:
                yield row
        for segment in there.values():
            yield from self.archive.rows(segment)

    def _erase_archived(
        self, erasure: Erasure, erased: Mapping[str, set[str]], found: ErasedEvents
    ) -> Cut | None:
        """Write every archived file that has something of the subject again, and add to `found` what has to be
        sealed again for it; returns the cut that names the new files.

        `erased`: keys, by table, of the rows that were erased.  Raises ArchiveMissing where the state's file is not
        there.
        """
        if (cut := self.cut()) is None:
            return None
        state = self._state_without(cut, erasure, erased, found)
        changed = {row["seq"]: row for row in found.changed}
        return replace(
            cut,
            state=state,
            segments=tuple(self._without(one, changed, found.unsalted) for one in cut.segments),
        )

    def state_erased(self, cut: Cut | None, actor: str, sign: Sign | None) -> None:
        """State the files that `_erase_archived` has written.  Raises Inconsistent where nobody can sign that."""
        if cut is None:
            return
        if sign is None:
            raise Inconsistent(
                "events are archived, and no key can sign what is left of them: `kbsync keys create`"
            )
        self.state_cut(cut, actor, sign)

    def _without(
        self, segment: Segment, changed: Mapping[int, Mapping[str, Any]], unsalted: Collection[int]
    ) -> Segment:
        if not self.archive.has(segment.content):
            return segment.unread
        numbers = range(segment.first, segment.last + 1)
        if not any(seq in numbers for seq in (*changed, *unsalted)):
            return segment

        def lines() -> Iterator[str]:
            for row in self.archive.rows(segment):
                left = changed.get(row["seq"], row)
                yield line_of({**left, "seal_salt": None} if row["seq"] in unsalted else left)

        return replace(segment, content=self.archive.write(name_of(segment.first, segment.last), lines()))

    def _state_without(
        self, cut: Cut, erasure: Erasure, erased: Mapping[str, set[str]], found: ErasedEvents
    ) -> ArchivedFile:
        """The state without the rows that were erased, and without those that shared a salt with one of them."""
        found.unsalted |= {seq for name, key, _, seq, _ in self._logged(cut) if key in erased.get(name, ())}
        for name, key, _, seq, _ in self._logged(cut):
            if seq in found.unsalted and name != FACT:
                found.seals(name, [key])

        def lines() -> Iterator[str]:
            given = self.archive.lines(cut.state)
            yield next(given).decode().rstrip("\n")
            yield json.dumps(erasure.names.without(json.loads(next(given))))
            for name, key, seal, seq, salt in map(json.loads, given):
                if name == FACT:
                    if int(key) not in erasure.facts:
                        yield _line([name, key, erasure.names.replaced(seal), seq, salt])
                elif seq not in found.unsalted and key not in erasure.seals.get(name, ()):
                    yield _line([name, key, seal, seq, salt])

        return self.archive.write(f"state-{cut.last:012}", lines())

    def _logged(self, cut: Cut) -> Iterator[tuple[str, str, str | None, int, str | None]]:
        given = self.archive.lines(cut.state)
        next(given), next(given)
        yield from (tuple(json.loads(line)) for line in given)


def name_of(first: int, last: int) -> str:
    """How the name of a segment begins."""
    return f"events-{first:012}-{last:012}"


def _line(values: Sequence[Any]) -> str:
    return json.dumps(values, separators=(",", ":"))
