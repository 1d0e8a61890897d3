"""The figures of the overview that are counted: exact in a small ledger, at most some seconds old in a large one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog

from kbsync.application import Application
from kbsync.queries.quarantine import count_stale
from kbsync.queries.sources import SourceCounts, count_sources
from kbsync.queries.unlisted import unlisted
from state import Snapshot, StateError

log = structlog.get_logger()

SMALL = 20_000
"""A ledger with so many facts is counted whenever something has happened."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted, and when."""

    at: datetime
    head: int
    """The number of the newest event that is counted in."""
    sources: SourceCounts
    pending: int
    waiting: int
    stopped: int
    stale: int
    unlisted: Mapping[str, int]
    wordings: Mapping[tuple[str, str], int]
    """Live's facts by relation and pinned template."""

    @property
    def facts(self) -> dict[str, int]:
        """Facts by status."""
        found: dict[str, int] = {}
        for counts in self.sources.facts.values():
            for status, count in counts.items():
                found[str(status)] = found.get(str(status), 0) + count
        return found


def count(app: Application) -> Counts:
    """Count now; takes about two seconds in a ledger of a million facts."""
    with app.state.read() as tx:
        return _count(app, tx)


def _count(app: Application, tx: Snapshot) -> Counts:
    live = tx.live()
    return Counts(
        at=app.now(),
        head=tx.head_number(),
        sources=count_sources(app, tx),
        pending=tx.count_pending(live),
        waiting=tx.count_waiting(),
        stopped=tx.count_waiting_for("volume"),
        stale=count_stale(app, tx),
        unlisted=unlisted(app, tx),
        wordings=tx.count_wordings(live.view) if live else {},
    )


class Census:
    """Counts for all who look at the pages.

    A small ledger is counted again as soon as something has happened.  A large one is counted in the background, so
    that nobody waits for it, and not so often that counting takes more than a twentieth of the time.
    """

    OFTEN_S = 5.0
    SHARE = 20

    def __init__(self, app: Application, clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._clock = app, clock
        self._first, self._busy = threading.Lock(), threading.Lock()
        self._last: tuple[float, float, Counts] | None = None
        """When it was counted, the seconds that it took, and the counts."""

    def now(self) -> Counts:
        """The newest counts."""
        with self._first:
            if self._last is None:
                return self._again()
        at, took, counts = self._last
        if sum(counts.facts.values()) <= SMALL:
            with self._first:
                return self._again() if self._head() != self._last[2].head else self._last[2]
        if self._clock() - at > max(self.OFTEN_S, self.SHARE * took) and self._busy.acquire(blocking=False):
            threading.Thread(target=self._in_background, name="counts", daemon=True).start()
        return counts

    def _again(self) -> Counts:
        began = self._clock()
        counts = count(self._app)
        self._last = self._clock(), self._clock() - began, counts
        return counts

    def _in_background(self) -> None:
        try:
            if self._last is not None and self._head() != self._last[2].head:
                self._again()
        except StateError as error:
            log.warning("counts.failed", reason=str(error))
        finally:
            self._busy.release()

    def _head(self) -> int:
        with self._app.state.read() as tx:
            return tx.head_number()
