"""What was live when, and what each promotion changed: the lineage of the checkpoints."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from state import Snapshot
from state.event_queries import EventFilter
from state.records import Event

MOST = 12
"""Promotions that are shown, the newest ones."""


@dataclass(frozen=True, slots=True)
class WentLive:
    """One time at which a checkpoint became live."""

    at: datetime
    checkpoint: int
    previous: int | None
    """What was live before; None for the first one."""
    run: int | None
    base: str
    facts: int
    """Facts that it was built from."""
    reason: str
    actor: str
    seconds: float | None
    """How long it was live; None while it is."""


def promotions(tx: Snapshot) -> tuple[WentLive, ...]:
    """The newest promotions, newest first; a rollback is one as well."""
    found = tx.recent_events(EventFilter(kind="checkpoint.promoted"), MOST)
    ends = [None, *((newer.at - older.at).total_seconds() for newer, older in pairwise(found))]
    return tuple(_promotion(event, seconds) for event, seconds in zip(found, ends, strict=True))


def _promotion(event: Event, seconds: float | None) -> WentLive:
    body = json.loads(event.body)
    return WentLive(
        event.at,
        body["checkpoint"],
        body.get("previous"),
        event.run,
        body.get("base") or "",
        body.get("view_size") or 0,
        body.get("reason") or "",
        event.actor,
        seconds,
    )
