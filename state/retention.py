"""What the ledger lets go after its time: payloads of old events, and statements that sources replaced long ago.

An event keeps its number, time, kind, actor and hash, and what the tables are replayed from; `redaction.py` explains
why the log, its tree and other proofs verify all the same.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select

from state.erasure import ErasureQueries, ErasureTransitions
from state.event_erasure import Sign
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


@dataclass(frozen=True, slots=True)
class InUse:
    """What must be provable and judgeable, however old: the events about it stay whole."""

    facts: frozenset[int]
    runs: frozenset[int]
    checkpoints: frozenset[int]

    def needs(self, event: AnyRow, body: Mapping[str, Any]) -> bool:
        return (
            event.fact in self.facts
            or event.run in self.runs
            or body.get("checkpoint") in self.checkpoints
            or event.kind in _WHOLE
        )


class RetentionQueries(ErasureQueries):
    def facts_in_use(self, views: Collection[str]) -> frozenset[int]:
        """Facts of these views, and those that are wanted or that wait for something."""
        found = {fact.id for status in _IN_USE for fact in self.facts(status=status)}
        for chunk in chunks(views):
            members = select(VIEW_FACTS.c.fact).join(VIEWS, VIEW_FACTS.c.view == VIEWS.c.id)
            found |= {row.fact for row in self._rows(members.where(VIEWS.c.digest.in_(chunk)))}
        return frozenset(found)

    def expired_events(self, before: datetime, in_use: InUse, after: int = 0) -> Iterator[dict[str, Any]]:
        """What is left of each event older than `before` that has a payload and is not about something in use.

        `after`: only events with a higher number.
        """
        kinds = or_(*(EVENTS.c.kind.startswith(f"{what}.") for what in PAYLOADS))
        chosen = select(EVENTS).where(kinds, EVENTS.c.at < instant(before)).order_by(EVENTS.c.seq)
        while rows := self._rows(chosen.where(EVENTS.c.seq > after).limit(_PAGE)):
            after = rows[-1].seq
            for row in rows:
                body = json.loads(row.body)
                if MARK in body or in_use.needs(row, body):
                    continue
                kept = PAYLOADS[row.kind.partition(".")[0]] | _ALWAYS
                left = {name: value for name, value in body.items() if name in kept}
                if left != body:
                    yield {**row._mapping, "body": canonical({**left, MARK: NUMBER}), "salt": None}

    def replaced_observations(self, before: datetime) -> Iterator[tuple[str, SlotKey]]:
        """Source and slot of everything that a source stated before then and states otherwise now."""
        current = select(READINGS.c.observation)
        rows = self._rows(
            select(OBSERVATIONS.c.source, SLOTS.c.subject, SLOTS.c.relation)
            .join_from(OBSERVATIONS, SLOTS)
            .where(OBSERVATIONS.c.observed < before, OBSERVATIONS.c.id.not_in(current))
            .group_by(OBSERVATIONS.c.source, SLOTS.c.subject, SLOTS.c.relation)
            .having(func.count() > 0)
            .order_by(OBSERVATIONS.c.source, SLOTS.c.subject, SLOTS.c.relation)
        )
        yield from ((row.source, (row.subject, row.relation)) for row in rows)


class RetentionTransitions(ErasureTransitions, RetentionQueries):
    def let_events_go(self, left: Sequence[Mapping[str, Any]], actor: str, sign: Sign | None) -> int:
        """Replaces events by what is left of them (`expired_events`), and vouches for that; returns how many.

        `sign`: by the key of the log, where it has one.  The caller has verified the log before.
        """
        redacted = self._rewrite_events(left)
        self._vouch(NUMBER, redacted, actor, sign)
        return len(redacted)

    def let_observations_go(self, found: Collection[tuple[str, SlotKey, int]]) -> int:
        """Deletes what sources stated, by source, slot and revision, unless it is current; returns how many."""
        count = 0
        ids = self._slot_ids(slot for _, slot, _ in found)
        current = select(READINGS.c.observation)
        for source, slot, revision in found:
            count += self._delete(
                OBSERVATIONS,
                (OBSERVATIONS.c.source == source)
                & (OBSERVATIONS.c.slot == ids[slot])
                & (OBSERVATIONS.c.revision == revision)
                & OBSERVATIONS.c.id.not_in(current),
            )
        return count
