"""When each kind of the retention policy was applied last, and when the ledger's file was rewritten."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from editing.durable import write_file
from kbsync.home import PRIVATE, Home

EVERY = timedelta(days=1)
"""How often a kind is applied at most."""
SHARE = 10
"""A kind is applied once in so many parts of its period: what is deleted is up to that part older than the period."""
LEDGER = frozenset({"archive", "events", "observations", "probes"})
"""Kinds that are deleted from the ledger, whose file is as large as before until it is rewritten."""


@dataclass
class Times:
    """What `retention.json` has."""

    applied: dict[str, datetime] = field(default_factory=dict)
    rewritten: datetime | None = None
    to_rewrite: bool = False
    """Whether something was deleted from the ledger since then."""

    @classmethod
    def read(cls, home: Home) -> Times:
        """Without a file, or with one of an older version or a damaged one, everything is due."""
        try:
            content = json.loads(home.retention.read_bytes())
            applied = {str(what): datetime.fromisoformat(at) for what, at in content["applied"].items()}
            rewritten = content["rewritten"]
            at = None if rewritten is None else datetime.fromisoformat(rewritten)
            return cls(applied, at, bool(content["to_rewrite"]))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return cls(to_rewrite=True)

    def write(self, home: Home) -> None:
        content = {
            "applied": {what: at.isoformat() for what, at in self.applied.items()},
            "rewritten": None if self.rewritten is None else self.rewritten.isoformat(),
            "to_rewrite": self.to_rewrite,
        }
        write_file(home.retention, json.dumps(content).encode(), mode=PRIVATE)

    def due(self, periods: Mapping[str, timedelta], now: datetime) -> list[str]:
        """The kinds to apply now, in order."""
        return [
            what
            for what, period in sorted(periods.items())
            if _is_over(self.applied.get(what), now, max(EVERY, period / SHARE))
        ]

    def is_rewrite_due(self, period: timedelta | None, now: datetime) -> bool:
        return period is not None and self.to_rewrite and _is_over(self.rewritten, now, period)

    def note(self, kinds: Collection[str], now: datetime, *, deleted: Collection[str]) -> None:
        """`kinds` were applied; of those `deleted`, something was deleted."""
        self.applied |= dict.fromkeys(kinds, now)
        self.to_rewrite = self.to_rewrite or not LEDGER.isdisjoint(deleted)


def _is_over(last: datetime | None, now: datetime, period: timedelta) -> bool:
    return last is None or not timedelta() <= now - last < period  # later than now: the clock was ahead
