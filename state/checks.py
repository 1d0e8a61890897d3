"""What is proven on a schedule, and how each proof ended last: the log, the tables, the bytes of live and base."""

from __future__ import annotations

from sqlalchemy import select

from state.records import Check, CheckName
from state.tables import Checks, table
from state.transaction import NewEvent, Reader, Writer, columns_of

CHECKS = table(Checks)
_CHECK = columns_of(CHECKS, Check)


class CheckQueries(Reader):
    def checks(self) -> dict[CheckName, Check]:
        """The last result of each, by name; what was never proven is not among them."""
        return {row.name: Check(*row) for row in self._rows(select(*_CHECK).order_by(CHECKS.c.name))}


class CheckTransitions(CheckQueries, Writer):
    def put_check(self, name: CheckName, ok: bool, detail: str, actor: str) -> Check:
        """Keeps a result.  A failure, another failure and a recovery are events; a further success is none."""
        old, now = self.checks().get(name), self.clock()
        since = old.since if old is not None and old.ok == ok else now
        made = Check(name, ok, detail, since, now)
        if old is None:
            self._insert(CHECKS, [{column.name: getattr(made, column.name) for column in _CHECK}])
        else:
            self._update(CHECKS, CHECKS.c.name == name, ok=ok, detail=detail, since=since, at=now)
        recovered = ok and old is not None and not old.ok
        failed = not ok and (old is None or (old.ok, old.detail) != (ok, detail))
        if recovered or failed:
            body = {"check": name, "detail": detail}
            self._log(actor, [NewEvent("check.passed" if ok else "check.failed", body)])
        return made
