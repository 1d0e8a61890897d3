"""Rewriting events of the append-only log: the one place that does, for what is erased and for what is let go.

`redaction.py` explains why the log, its tree and other proofs verify all the same.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from sqlalchemy import bindparam, text, update

from state.redaction import KIND, digest_of_event, statement
from state.transaction import EVENTS, NewEvent, Writer, chunks

_EVENTS_A_STATEMENT = 1_000
Sign = Callable[[str], bytes]


class EventErasure(Writer):
    def _rewrite_events(
        self, changed: Sequence[Mapping[str, Any]], unsalted: Collection[int] = ()
    ) -> dict[str, str]:
        """Replace the bodies and seals of events, and take their salts away; digests of what is left, by number.

        `unsalted`: events whose seals lose their salt.
        """
        where = update(EVENTS).where(EVENTS.c.seq == bindparam("_seq"))
        with self._events_writable():
            for start in range(0, len(changed), _EVENTS_A_STATEMENT):
                page = changed[start : start + _EVENTS_A_STATEMENT]
                values = [
                    {"_seq": row["seq"], "body": row["body"], "rows": row["rows"], "salt": None}
                    for row in page
                ]
                self.connection.execute(where, values)
            for chunk in chunks(unsalted):
                self.connection.execute(update(EVENTS).where(EVENTS.c.seq.in_(chunk)).values(seal_salt=None))
        return {str(row["seq"]): digest_of_event(row) for row in changed}

    @contextmanager
    def _events_writable(self, verb: Literal["update", "delete"] = "update") -> Iterator[None]:
        """Lift the protection of the audit log within this transaction; a rollback restores it, too.

        `verb`: what is to be allowed, where the database protects the log from each by itself (SQLite).
        """
        if self.connection.dialect.name != "sqlite":
            self.connection.execute(text("ALTER TABLE events DISABLE TRIGGER events_append_only"))
            yield
            self.connection.execute(text("ALTER TABLE events ENABLE TRIGGER events_append_only"))
            return
        found = text(f"SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = 'events_no_{verb}'")
        statement = str(self.connection.execute(found).scalar_one())
        self.connection.execute(text(f"DROP TRIGGER events_no_{verb}"))
        yield
        self.connection.exec_driver_sql(statement)

    def _vouch(self, number: int, redacted: dict[str, str], actor: str, sign: Sign | None) -> None:
        """Write which events were redacted, and what is left of them, signed."""
        notes = []
        for page in chunks(redacted, _EVENTS_A_STATEMENT):
            these = {seq: redacted[seq] for seq in page}
            body: dict[str, Any] = {"number": number, "events": these}
            if sign is not None:
                body["signature"] = base64.b64encode(sign(statement(number, these))).decode()
            notes.append(NewEvent(KIND, body))
        self._log(actor, notes)
