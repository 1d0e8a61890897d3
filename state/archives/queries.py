"""Which events may be moved out of the ledger.

An event may go when nothing reads it any more but the proof of the log.  Those about keys, settings, restores,
erasures, decisions and checkpoints that went live stay, as does everything about what is in use, and about a fact that
has changed since the cut: so what was wanted at an instant after the cut is known without the archive.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from state.hash_chain import instant
from state.redaction import KIND as REDACTED
from state.redaction import is_redacted
from state.retention import InUse, RetentionQueries
from state.runs import RUNS
from state.transaction import EVENTS, chunks
from state.tree import SPAN

MOVED = (
    "fact.",
    "entity.",
    "slot.",
    "source.",
    "attempt.",
    "request.",
    "deployment.",
    "run.",
    "observations.recorded",
    "view.created",
    "checkpoint.created",
    "rows.written",
    "ledger.sealed",
    "breaker.tripped",
    "retention.applied",
    "lease.",
    REDACTED,
)
"""How the kinds of events begin that may be moved; all others stay in the ledger."""
STAY = frozenset({"fact.approved", "fact.rejected", "fact.reopened", "run.scope"})
"""Kinds that stay all the same: what people decided, and what admission and planning ask of long ago."""
_PAGE = 2_000


class ArchivingQueries(RetentionQueries):
    def last_to_archive(self, before: datetime, most: int | None = None) -> int:
        """The number up to which every event is older than an instant, but at most `most`: whole runs of 256.

        The newest event always stays.  An event of later than now was written while the clock was ahead, and counts as
        those beside it.
        """
        recent = EVENTS.c.at.between(instant(before), instant(self.clock()))
        newer = self._value(select(func.min(EVENTS.c.seq)).where(recent))
        head = self.head_number()
        last = min(head - 1, head if newer is None else int(newer) - 1, head if most is None else most)
        return max(0, last // SPAN * SPAN)

    def staying(self, last: int, in_use: InUse) -> dict[int, str]:
        """The hashes of those of the first `last` events that stay in the ledger, by number."""
        newest = self._value(select(func.max(RUNS.c.id)))
        found: dict[int, str] = {}
        marked: set[int] = set()
        columns = (EVENTS.c.seq, EVENTS.c.kind, EVENTS.c.run, EVENTS.c.fact, EVENTS.c.body, EVENTS.c.hash)
        chosen = select(*columns).where(EVENTS.c.seq <= last).order_by(EVENTS.c.seq).limit(_PAGE)
        after = 0
        while rows := self._rows(chosen.where(EVENTS.c.seq > after)):
            after = rows[-1].seq
            facts = self._needed_facts([row.fact for row in rows if row.fact is not None], last, in_use)
            for row in rows:
                body = json.loads(row.body)
                stays = (
                    not row.kind.startswith(MOVED)
                    or row.kind in STAY
                    or row.fact in facts
                    or (row.run is not None and row.run == newest)
                    or in_use.needs(row, body)
                    or (row.kind == REDACTED and not marked.isdisjoint(map(int, body["events"])))
                )
                if stays:
                    found[row.seq] = row.hash
                    if is_redacted(row.body):
                        marked.add(row.seq)
        return found

    def _needed_facts(self, among: Collection[int], last: int, in_use: InUse) -> set[int]:
        """Those of the facts that are in use, or that have changed after event `last`."""
        found = set(self.facts_in_use(in_use.views, among))
        for chunk in chunks(among):
            later = select(EVENTS.c.fact).where(EVENTS.c.fact.in_(chunk), EVENTS.c.seq > last).distinct()
            found |= {row.fact for row in self._rows(later)}
        return found

    def archived_rows(self, first: int, last: int, kept: Mapping[int, str]) -> Iterator[list[int]]:
        """Pages of the numbers of events that are still in the ledger, and not among those that stay."""
        chosen = select(EVENTS.c.seq).where(EVENTS.c.seq <= last).order_by(EVENTS.c.seq).limit(_PAGE)
        after = first - 1
        while rows := self._rows(chosen.where(EVENTS.c.seq > after)):
            after = rows[-1].seq
            if gone := [row.seq for row in rows if row.seq not in kept]:
                yield gone

    def rows_between(self, first: int, last: int) -> Iterator[Mapping[str, Any]]:
        """The events with these numbers, in order, with all columns."""
        chosen = select(EVENTS).where(EVENTS.c.seq <= last).order_by(EVENTS.c.seq).limit(_PAGE)
        after = first - 1
        while rows := self._rows(chosen.where(EVENTS.c.seq > after)):
            after = rows[-1].seq
            yield from (dict(row._mapping) for row in rows)
