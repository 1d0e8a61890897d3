"""What the ledger has of each source: how reading it goes, what it stated, and how to forget or rename it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import and_, func, select

from state.records import FactStatus, SlotKey, SourceHealth
from state.tables import Cursors, Facts, Observations, Readings, Sources, table
from state.transaction import SLOTS, NewEvent, Reader, Writer, chunks, columns_of

SOURCES, CURSORS = table(Sources), table(Cursors)
READINGS, OBSERVATIONS, FACTS = table(Readings), table(Observations), table(Facts)
_HEALTH = select(*columns_of(SOURCES, SourceHealth))


def import_cursor(source: str) -> str:
    """The name under which the place in a dump is kept that is imported for a source; no source can have it."""
    return f"import of {source}"


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

    def count_namespaces(self) -> dict[str, dict[str, int]]:
        """For each source the prefixes of the subjects that it was read for, with the number of slots."""
        colon = func.instr if self.connection.dialect.name == "sqlite" else func.strpos
        prefix = func.substr(SLOTS.c.subject, 1, colon(SLOTS.c.subject, ":") - 1).label("prefix")
        counted = select(READINGS.c.source, prefix, func.count()).join_from(READINGS, SLOTS)
        found: dict[str, dict[str, int]] = {}
        for row in self._rows(counted.group_by(READINGS.c.source, prefix)):
            found.setdefault(row[0], {})[row[1]] = row[2]
        return found

    def count_source_facts(self) -> dict[str, dict[FactStatus, int]]:
        """Facts of each source, by status."""
        columns = (FACTS.c.source, FACTS.c.status, func.count())
        found: dict[str, dict[FactStatus, int]] = {}
        for row in self._rows(select(*columns).group_by(FACTS.c.source, FACTS.c.status)):
            found.setdefault(row[0], {})[row[1]] = row[2]
        return found

    def _read_for(self, source: str, limit: int, namespace: str | None = None) -> dict[int, SlotKey]:
        """At most `limit` slots that the source was read for, by id."""
        columns = select(SLOTS.c.id, SLOTS.c.subject, SLOTS.c.relation).join_from(READINGS, SLOTS)
        chosen = columns.where(READINGS.c.source == source).order_by(READINGS.c.id).limit(limit)
        if namespace is not None:
            chosen = chosen.where(SLOTS.c.subject.startswith(f"{namespace}:", autoescape=True))
        return {row.id: (row.subject, row.relation) for row in self._rows(chosen)}


class SourceTransitions(SourceQueries, Writer):
    def source_read(self, source: str, actor: str) -> SourceHealth:
        """The source was read to its end, whether or not anything had changed."""
        old = self.source_health([source])[source]
        if old.failures:
            since = None if old.failed is None else old.failed.isoformat()
            self._log(actor, [NewEvent("source.available", {"source": source, "last_error": since})])
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
            self._log(actor, [NewEvent("source.unavailable", body)])
        return self._keep(source, failed=self.clock(), kind=kind, error=error, failures=failures, retry=retry)

    def source_reconciled(self, source: str, until: int | None) -> SourceHealth:
        """How far a full re-read has come, as a position of `watched_page`; None: to its end."""
        return self._keep(source, reconciled=until)

    def source_rejected(self, source: str, rejected: int, reject: str) -> SourceHealth:
        """How many rows of its latest reading could not be used, and what is wrong with the first of them."""
        return self._keep(source, rejected=rejected, reject=reject)

    def forget_statements(
        self, source: str, reason: str, actor: str, *, limit: int, namespace: str | None = None
    ) -> list[SlotKey]:
        """Removes what the source stated of at most `limit` slots, and returns these; empty: nothing is left.

        With `namespace` only slots whose subjects have that prefix.  Where nothing is left of the source,
        its cursor and its health go too: it would be read from its beginning.
        """
        pairs = self._read_for(source, limit, namespace)
        for chunk in chunks(pairs):
            self._delete(READINGS, and_(READINGS.c.source == source, READINGS.c.slot.in_(chunk)))
            self._delete(OBSERVATIONS, and_(OBSERVATIONS.c.source == source, OBSERVATIONS.c.slot.in_(chunk)))
        if not self._read_for(source, 1):
            self._delete(CURSORS, CURSORS.c.source.in_((source, import_cursor(source))))
            self._delete(SOURCES, SOURCES.c.source == source)
        if pairs:
            body = {"source": source, "namespace": namespace, "slots": len(pairs), "reason": reason}
            self._log(actor, [NewEvent("source.forgotten", body)])
        return list(pairs.values())

    def rename_statements(self, old: str, new: str, reason: str, actor: str, *, limit: int) -> list[SlotKey]:
        """Gives what `old` stated of at most `limit` slots to `new`, and returns these; empty: all is done.

        A slot that was read under the new name already keeps what was read then.  The cursor moves with
        the last slots, unless the new name has one.
        """
        pairs = self._read_for(old, limit)
        for chunk in chunks(pairs):
            taken = select(READINGS.c.slot).where(READINGS.c.source == new, READINGS.c.slot.in_(chunk))
            known = [row.slot for row in self._rows(taken)]
            for source in (READINGS, OBSERVATIONS):
                named = and_(source.c.source == old, source.c.slot.in_(chunk))
                self._delete(source, and_(named, source.c.slot.in_(known)))
                self._update(source, named, source=new)
        if not self._read_for(old, 1):
            for source in (CURSORS, SOURCES):
                if self._row(select(source.c.source).where(source.c.source == new)) is None:
                    self._update(source, source.c.source == old, source=new)
                self._delete(source, source.c.source == old)
        if pairs:
            body = {"source": old, "to": new, "slots": len(pairs), "reason": reason}
            self._log(actor, [NewEvent("source.renamed", body)])
        return list(pairs.values())

    def rewind_source(self, source: str, cursor: str, to: datetime | None, reason: str, actor: str) -> None:
        """Continues the reading of a source at an earlier cursor: everything since `to` (None: all) is read again."""
        self._update(CURSORS, CURSORS.c.source == source, cursor=cursor, updated=self.clock())
        body = {"source": source, "to": to, "reason": reason}
        self._log(actor, [NewEvent("source.rewound", body)])

    def _keep(self, source: str, **values: object) -> SourceHealth:
        if not self._update(SOURCES, SOURCES.c.source == source, **values):
            fresh = {"kind": "", "error": "", "failures": 0, "rejected": 0, "reject": ""}
            self._insert(SOURCES, [{"source": source, **fresh, **values}])
        return self.source_health([source])[source]
