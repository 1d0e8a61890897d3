"""Whether an operator has paused the daemon, and why."""

from __future__ import annotations

from sqlalchemy import select

from state.records import Pause
from state.tables import Pauses, table
from state.transaction import NewEvent, Reader, Writer

PAUSES = table(Pauses)


class PauseQueries(Reader):
    def paused(self) -> Pause | None:
        row = self._row(select(PAUSES.c.reason, PAUSES.c.actor, PAUSES.c.since))
        return Pause(*row) if row else None


class PauseTransitions(PauseQueries, Writer):
    def pause(self, reason: str, actor: str) -> Pause:
        """The daemon starts nothing new until `resume`; pausing twice keeps the first reason."""
        if (current := self.paused()) is not None:
            return current
        pause = Pause(reason, actor, self.clock())
        self._insert(PAUSES, [{"id": 1, "reason": reason, "actor": actor, "since": pause.since}])
        self._log(actor, [NewEvent("daemon.paused", {"reason": reason})])
        return pause

    def resume(self, actor: str) -> bool:
        """False if it was not paused."""
        resumed = bool(self._delete(PAUSES))
        if resumed:
            self._log(actor, [NewEvent("daemon.resumed", {})])
        return resumed
