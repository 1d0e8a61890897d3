"""The lease of the one process that may change a home and its ledger.

Its generation is a fencing token: it is checked inside the transaction that it protects, so a leader
that was paused and replaced writes nothing when it wakes up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from state import State, Transaction
from state.records import Lease

log = structlog.get_logger()

ACTOR = "kbsync"
LEASE_NAME = "leader"
LEASE_TTL = timedelta(minutes=5)


@dataclass
class Leadership:
    """The lease this process holds; its generation fences promotions."""

    state: State
    now: Callable[[], datetime]
    lease: Lease
    pulse: Callable[[], None] = lambda: None
    """Called with every sign of life: who renews has just seen its work go on."""
    safe_point: Callable[[], None] = lambda: None
    """Called where work can be broken off without loss; may raise to break it off."""

    disturbed: set[tuple[str, str]] = field(default_factory=set)
    """Slots whose facts changed under a clock that was ahead: the next cycle admits them again."""

    def renew(self) -> None:
        """Extend the lease when a quarter of it has passed; raises state.StaleLeader if it was lost.

        Call it outside any transaction, where the caller's work can be broken off: it is a safe point.
        """
        self.pulse()
        left = self.lease.expires - self.now()
        if not LEASE_TTL * 3 / 4 <= left <= LEASE_TTL:  # beyond: the clock was set back meanwhile
            self.lease = self.state.renew_lease(self.lease, LEASE_TTL)
        self.safe_point()

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A transaction of the leader; raises StaleLeader where this process was paused and replaced."""
        with self.state.write() as tx:
            tx.check_lease(self.lease)
            yield tx

    def correct_instants(self) -> None:
        """Let what was written by a clock that was ahead count as written now (`state.instants`)."""
        with self.write() as tx:
            corrected, slots = tx.correct_instants(ACTOR)
        self.disturbed |= slots
        if corrected:
            log.warning("clock.corrected", **corrected)

    def release(self) -> None:
        self.state.release_lease(self.lease)
