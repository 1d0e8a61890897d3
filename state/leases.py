"""Leadership: a lease with a generation that fences whoever led before.

A clock decides when a lease may be taken over; only the generation decides who may write. A daemon
that was paused past its lease wakes with an old generation, and its promotion fails inside its own
transaction. An expired lease that nobody took still has the newest generation, so its holder may
go on: there is no other leader.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from state.errors import LeaseHeld, StaleLeader
from state.hash_chain import instant
from state.records import Lease
from state.tables import Leases, table
from state.transaction import NewEvent, Reader, Writer, columns_of

FREE = datetime(1970, 1, 1, tzinfo=UTC)
"""When a released lease ran out: long ago, also for a clock that is set back meanwhile."""

LEASES = table(Leases)
_LEASE = columns_of(LEASES, Lease)


class LeaseQueries(Reader):
    def lease(self, name: str) -> Lease | None:
        row = self._row(select(*_LEASE).where(LEASES.c.name == name))
        return Lease(*row) if row else None


class LeaseTransitions(LeaseQueries, Writer):
    def acquire_lease(self, name: str, holder: str, ttl: timedelta) -> Lease:
        """Takes a free or expired lease under a new generation; raises LeaseHeld.

        The same holder's name gets a new generation too: it is another incarnation of it.
        """
        now, old = self.clock(), self.lease(name)
        if old is not None and old.expires > now and old.holder != holder:
            raise LeaseHeld(name, old.holder, instant(old.expires))
        lease = Lease(name, holder, 1 if old is None else old.generation + 1, now + ttl)
        self._write(lease, existed=old is not None)
        body = {"lease": name, "generation": lease.generation, "before": None if old is None else old.holder}
        self._log(holder, [NewEvent("lease.acquired", body)])
        return lease

    def shorten_lease(self, name: str, ttl: timedelta) -> None:
        """Let a lease that lasts much longer than `ttl` end that long from now.

        Its end was written by a clock that was ahead; a holder that lives renews it in time.
        """
        now, old = self.clock(), self.lease(name)
        if old is not None and old.expires > now + 2 * ttl:
            self._write(Lease(old.name, old.holder, old.generation, now + ttl), existed=True)

    def renew_lease(self, lease: Lease, ttl: timedelta) -> Lease:
        """Raises StaleLeader when another generation exists."""
        self.check_lease(lease)
        renewed = Lease(lease.name, lease.holder, lease.generation, self.clock() + ttl)
        self._write(renewed, existed=True)
        return renewed

    def release_lease(self, lease: Lease) -> None:
        """Lets the next daemon lead at once; a lease that was lost meanwhile is left alone."""
        current = self.lease(lease.name)
        if current is not None and (current.holder, current.generation) == (lease.holder, lease.generation):
            self._write(Lease(lease.name, lease.holder, lease.generation, FREE), existed=True)
            self._log(
                lease.holder,
                [NewEvent("lease.released", {"lease": lease.name, "generation": lease.generation})],
            )

    def check_lease(self, lease: Lease) -> None:
        """Raises StaleLeader unless this is the newest generation, held by the same holder."""
        current = self.lease(lease.name)
        if current is None:
            raise StaleLeader(lease.name, lease.generation, "the lease does not exist")
        if (current.holder, current.generation) != (lease.holder, lease.generation):
            now = f"{current.holder} leads with generation {current.generation}"
            raise StaleLeader(lease.name, lease.generation, now)

    def _write(self, lease: Lease, *, existed: bool) -> None:
        values = {"holder": lease.holder, "generation": lease.generation, "expires": lease.expires}
        if existed:
            self._update(LEASES, LEASES.c.name == lease.name, **values)
        else:
            self._insert(LEASES, [{"name": lease.name, **values}])
