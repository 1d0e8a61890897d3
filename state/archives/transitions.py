"""Moving events out of the ledger: the event that states a cut, and the removal of the rows that it covers."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete

from state.archives.cuts import KIND, Cut, signed, statement
from state.event_erasure import EventErasure, Sign
from state.records import Event
from state.transaction import EVENTS, NewEvent, chunks


class CutTransitions(EventErasure):
    def state_cut(self, cut: Cut, actor: str, sign: Sign) -> Event:
        """States, signed, that the events up to `cut.last` are in its files.

        The caller has verified the log and written the files.  The rows go later (`remove_archived`).
        """
        earlier = self.cut()
        known = () if earlier is None else earlier.segments
        body = cut.body(one for one in cut.segments if one not in known)
        return self._log(actor, [NewEvent(KIND, signed(body, sign(statement(body))))])[0]

    def remove_archived(self, numbers: Collection[int]) -> int:
        """Deletes rows of events that a signed cut covers; returns how many."""
        count = 0
        with self._events_writable("delete"):
            for chunk in chunks(numbers):
                count += self.connection.execute(delete(EVENTS).where(EVENTS.c.seq.in_(chunk))).rowcount
        return count
