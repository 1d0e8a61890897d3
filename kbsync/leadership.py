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
    """The lease that this process holds; its generation fences the leader's writes."""

    state: State
    now: Callable[[], datetime]
    lease: Lease
    pulse: Callable[[], None] = lambda: None
    """Called at every renewal, as a sign that the caller's work makes progress."""
    safe_point: Callable[[], None] = lambda: None
    """Called where work can be interrupted without loss; it may raise an exception to interrupt it."""

    disturbed: set[tuple[str, str]] = field(default_factory=set)
    """Slots whose facts changed while the clock was ahead; the next cycle admits them again."""

    def renew(self) -> None:
        """Extend the lease when a quarter of it has passed; raises state.StaleLeader if it was lost.

        Call it outside any transaction and where the caller's work can be interrupted: it is a safe point.
        """
        self.pulse()
        left = self.lease.expires - self.now()
        if not LEASE_TTL * 3 / 4 <= left <= LEASE_TTL:  # more than the TTL: the clock was set back
            self.lease = self.state.renew_lease(self.lease, LEASE_TTL)
        self.safe_point()

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A transaction of the leader; raises StaleLeader if this process was paused and replaced."""
        with self.state.write() as tx:
            tx.check_lease(self.lease)
            yield tx

    def correct_instants(self) -> None:
        """Treat what was written while the clock was ahead as written now (`state.instants`)."""
        with self.write() as tx:
            corrected, slots = tx.correct_instants(ACTOR)
        self.disturbed |= slots
        if corrected:
            log.warning("clock.corrected", **corrected)

    def release(self) -> None:
        self.state.release_lease(self.lease)
