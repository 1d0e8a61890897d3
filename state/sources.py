"""How reading each source goes: its last success, its last error, and when it is asked again."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import func, select

from state.records import SourceHealth
from state.tables import Readings, Sources, table
from state.transaction import Note, Reader, Writer, columns_of

SOURCES, READINGS = table(Sources), table(Readings)
_HEALTH = select(*columns_of(SOURCES, SourceHealth))


class SourceQueries(Reader):
    def source_health(self, sources: Iterable[str] | None = None) -> dict[str, SourceHealth]:
        """What is known of reading these sources (all that were ever read or tried, if None), by name."""
        found = {row.source: SourceHealth(*row) for row in self._rows(_HEALTH.order_by(SOURCES.c.source))}
        if sources is None:
            return found
        return {name: found.get(name, SourceHealth(name)) for name in sources}

    def count_watched(self) -> dict[str, int]:
        """Slots that each source was ever read for."""
        rows = self._rows(select(READINGS.c.source, func.count()).group_by(READINGS.c.source))
        return {row[0]: row[1] for row in rows}


class SourceTransitions(SourceQueries, Writer):
    def source_read(self, source: str, actor: str) -> SourceHealth:
        """The source was read to its end, whether or not anything had changed."""
        old = self.source_health([source])[source]
        if old.failures:
            since = None if old.failed is None else old.failed.isoformat()
            self._log(actor, [Note("source.available", {"source": source, "last_error": since})])
        return self._keep(source, succeeded=self.clock(), failures=0, retry=None)

    def source_failed(self, source: str, kind: str, error: str, retry: datetime, actor: str) -> SourceHealth:
        """The source could not be read; it is asked again at `retry`.

        `kind` names the error's class, `error` says what was wrong.  An event is written where the trouble
        begins or is of another kind, not each time that it goes on.
        """
        old = self.source_health([source])[source]
        failures = old.failures + 1
        if not old.failures or old.kind != kind:
            body = {"source": source, "kind": kind, "error": error, "retry": retry}
            self._log(actor, [Note("source.unavailable", body)])
        return self._keep(source, failed=self.clock(), kind=kind, error=error, failures=failures, retry=retry)

    def source_reconciled(self, source: str, until: int | None) -> SourceHealth:
        """How far a full re-read has come, as a position of `watched_page`; None: to its end."""
        return self._keep(source, reconciled=until)

    def _keep(self, source: str, **values: object) -> SourceHealth:
        if not self._update(SOURCES, SOURCES.c.source == source, **values):
            fresh = {"kind": "", "error": "", "failures": 0}
            self._insert(SOURCES, [{"source": source, **fresh, **values}])
        return self.source_health([source])[source]
