"""What the ledger lets go after its time: payloads of old events, and statements that sources replaced long ago.

An event keeps its number, time, kind, actor and hash, and what the tables are replayed from; `redaction.py` explains
why the log, its tree and other proofs verify all the same.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import exists, func, or_, select

from state.archives.cuts import archived
from state.erasure import ErasureQueries, ErasureTransitions
from state.event_erasure import Sign
from state.fact_queries import FACTS, PROBES
from state.hash_chain import canonical, instant
from state.observations import OBSERVATIONS, READINGS
from state.records import FactStatus, SlotKey
from state.redaction import MARK
from state.transaction import EVENTS, SLOTS, AnyRow, chunks
from state.views import VIEW_FACTS, VIEWS

NUMBER = 0
"""The mark of a payload that was let go; those of forgotten subjects are numbered from 1."""
PAYLOADS: Mapping[str, frozenset[str]] = {
    "fact": frozenset(
        {"from", "to", "status", "decision", "decision_before", "key", "source", "revision", "statement"}
        | {"held_until"}
    ),
    "entity": frozenset({"id"}),
    "slot": frozenset(),
    "source": frozenset({"source"}),
    "attempt": frozenset({"attempt"}),
    "request": frozenset({"request", "action", "from", "to", "attempt"}),
    "deployment": frozenset({"deployment", "checkpoint", "hook", "from", "to"}),
}
"""Kinds of events that lose their payload, by the part before the dot, and the members that stay.

All others stay whole: keys, leases, settings, restores, erasures, and how runs, views and checkpoints went, with every
gate's value.
"""
_IN_USE: tuple[FactStatus, ...] = ("wanted", "held", "quarantined")
_WHOLE = ("source.forgotten", "source.renamed", "source.rewound")
_ALWAYS = frozenset({MARK, "os_user"})
_PAGE = 5_000
_STRETCH = 20_000
_IS_CURRENT = exists().where(
    READINGS.c.slot == OBSERVATIONS.c.slot,
    READINGS.c.source == OBSERVATIONS.c.source,
    READINGS.c.observation == OBSERVATIONS.c.id,
)
"""By the slot, which an index finds: `NOT IN` would have PostgreSQL read all readings for each observation."""


@dataclass(frozen=True, slots=True)
class InUse:
    """What must be provable and judgeable, however old: the events about it, and about its facts, stay whole."""

    views: frozenset[str]
    """The digests of views whose facts are in use, besides those that are wanted or that wait for something."""
    runs: frozenset[int]
    checkpoints: frozenset[int]

    def needs(self, event: AnyRow, body: Mapping[str, Any]) -> bool:
        """Whether an event has to stay whole, but for the fact that it is about."""
        return event.run in self.runs or body.get("checkpoint") in self.checkpoints or event.kind in _WHOLE


class RetentionQueries(ErasureQueries):
    def facts_in_use(self, views: Collection[str], among: Iterable[int]) -> frozenset[int]:
        """Those of some facts that are in these views, are wanted, or wait for something.

        A ledger may have millions of facts in use, so they are never collected.
        """
        found: set[int] = set()
        named = [self._value(select(VIEWS.c.id).where(VIEWS.c.digest == digest)) for digest in views]
        for chunk in chunks(among):
            open_rows = select(FACTS.c.id).where(FACTS.c.id.in_(chunk), FACTS.c.status.in_(_IN_USE))
            members = select(VIEW_FACTS.c.fact).where(
                VIEW_FACTS.c.fact.in_(chunk), VIEW_FACTS.c.view.in_(named)
            )
            found |= {row[0] for rows in (open_rows, members) for row in self._rows(rows)}
        return frozenset(found)

    def expired_events(self, before: datetime, in_use: InUse, after: int = 0) -> Iterator[dict[str, Any]]:
        """What is left of each event older than `before` that has a payload and is not about something in use.

        `after`: only events with a higher number.  An archived event stays as its file has it.
        """
        after = max(after, archived(self.connection))
        kinds = or_(*(EVENTS.c.kind.startswith(f"{what}.") for what in PAYLOADS))
        chosen = select(EVENTS).where(kinds, EVENTS.c.at < instant(before)).order_by(EVENTS.c.seq)
        while rows := self._rows(chosen.where(EVENTS.c.seq > after).limit(_PAGE)):
            after = rows[-1].seq
            facts = self.facts_in_use(in_use.views, (row.fact for row in rows if row.fact is not None))
            for row in rows:
                body = json.loads(row.body)
                if MARK in body or row.fact in facts or in_use.needs(row, body):
                    continue
                kept = PAYLOADS[row.kind.partition(".")[0]] | _ALWAYS
                left = {name: value for name, value in body.items() if name in kept}
                if left != body:
                    yield {**row._mapping, "body": canonical({**left, MARK: NUMBER}), "salt": None}

    def replaced_observations(self, before: datetime) -> Iterator[list[tuple[str, SlotKey]]]:
        """Source and slot of everything that a source stated before then and states otherwise now.

        A list for each stretch of slots, which an index finds, so that neither time nor memory of one statement
        follows the ledger.
        """
        last = int(self._value(select(func.max(SLOTS.c.id))) or 0)
        for first in range(1, last + 1, _STRETCH):
            found = select(OBSERVATIONS.c.source, SLOTS.c.subject, SLOTS.c.relation).join_from(
                OBSERVATIONS, SLOTS
            )
            rows = self._rows(
                found.where(
                    OBSERVATIONS.c.slot.between(first, first + _STRETCH - 1),
                    OBSERVATIONS.c.observed < before,
                    ~_IS_CURRENT,
                )
                .distinct()
                .order_by(OBSERVATIONS.c.source, SLOTS.c.subject, SLOTS.c.relation)
            )
            if rows:
                yield [(row.source, (row.subject, row.relation)) for row in rows]

    def facts_with_old_probes(self, before: datetime, in_use: InUse, after: int = 0) -> Iterator[int]:
        """Facts above `after` that have probes, were changed before then, and are not in use; in order."""
        old = (FACTS.c.updated < before) & FACTS.c.status.not_in(_IN_USE)
        has = exists().where(PROBES.c.fact == FACTS.c.id)
        chosen = select(FACTS.c.id).where(old, has).order_by(FACTS.c.id).limit(_PAGE)
        while rows := self._rows(chosen.where(FACTS.c.id > after)):
            after = rows[-1].id
            ids = [row.id for row in rows]
            used = self.facts_in_use(in_use.views, ids)
            yield from (id for id in ids if id not in used)


class RetentionTransitions(ErasureTransitions, RetentionQueries):
    def let_events_go(self, left: Sequence[Mapping[str, Any]], actor: str, sign: Sign | None) -> int:
        """Replaces events by what is left of them (`expired_events`), and vouches for that; returns how many.

        `sign`: by the key of the log, where it has one.  The caller has verified the log before.
        """
        redacted = self._rewrite_events(left)
        self._vouch(NUMBER, redacted, actor, sign)
        return len(redacted)

    def let_probes_go(self, facts: Collection[int]) -> int:
        """Deletes the probes of these facts; they are gathered again if a fact is wanted again.  How many facts."""
        for chunk in chunks(facts):
            self._delete(PROBES, PROBES.c.fact.in_(chunk))
        return len(facts)

    def let_observations_go(self, found: Collection[tuple[str, SlotKey, int]]) -> int:
        """Deletes what sources stated, by source, slot and revision, unless it is current; returns how many."""
        count = 0
        ids = self._slot_ids(slot for _, slot, _ in found)
        for source, slot, revision in found:
            count += self._delete(
                OBSERVATIONS,
                (OBSERVATIONS.c.source == source)
                & (OBSERVATIONS.c.slot == ids[slot])
                & (OBSERVATIONS.c.revision == revision)
                & ~_IS_CURRENT,
            )
        return count
