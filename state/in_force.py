"""Which settings a ledger was last worked on with: an event whenever the leader runs with others.

Only digests are compared and kept, besides the gates' thresholds, which are what an auditor asks for first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, text

from state.transaction import EVENTS, NewEvent, Reader, Writer


@dataclass(frozen=True, slots=True)
class InForce:
    """Everything that decides what kbsync does, by digest."""

    version: str
    """Of kbsync."""
    digests: Mapping[str, str]
    """By section of the settings."""
    thresholds: Mapping[str, Mapping[str, Any]]
    """By gate: threshold, margin, confidence, and whether it counts."""


class InForceQueries(Reader):
    def in_force(self) -> InForce | None:
        """What the leader last ran with; None in a ledger that has had no leader yet."""
        newest = select(EVENTS.c.body).where(text("kind = 'settings.changed'"))
        body = self._value(newest.order_by(EVENTS.c.seq.desc()).limit(1))
        if body is None:
            return None
        kept = json.loads(body)
        return InForce(kept["version"], kept["digests"], kept["thresholds"])


class InForceTransitions(InForceQueries, Writer):
    def put_in_force(self, now: InForce, actor: str) -> tuple[str, ...]:
        """Records what the leader runs with, if that differs from before; returns what has changed."""
        before = self.in_force()
        if before == now:
            return ()
        old = before.digests if before else {}
        changed = sorted(name for name in {*old, *now.digests} if old.get(name) != now.digests.get(name))
        if before is None or before.version != now.version:
            changed.append("version")
        body = {
            "version": now.version,
            "digests": now.digests,
            "thresholds": now.thresholds,
            "changed": changed,
            "version_before": before.version if before else None,
            "digests_before": {name: old[name] for name in changed if name in old},
        }
        self._log(actor, [NewEvent("settings.changed", body)])
        return tuple(changed)
