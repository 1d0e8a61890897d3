"""Which ledger this is: every restore from a backup begins a new one, whose past is the backup's."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from state.leases import FREE, LEASES
from state.tables import Ledger, table
from state.transaction import NewEvent, Reader, Writer

LEDGER = table(Ledger)


class InstanceQueries(Reader):
    def instance(self) -> str:
        """The name of this ledger; a restored one has another."""
        return str(self._value(select(LEDGER.c.instance)))


class InstanceTransitions(InstanceQueries, Writer):
    def begin_instance(self, backup: Mapping[str, Any], actor: str) -> str:
        """Give a restored ledger a new instance id and return it.  No process leads it any more."""
        before, name = self.instance(), secrets.token_hex(8)
        self._update(LEDGER, LEDGER.c.id == 1, instance=name, created=self.clock())
        self._update(LEASES, LEASES.c.expires > FREE, expires=FREE)
        self._log(actor, [NewEvent("ledger.restored", {"instance": name, "before": before, **backup})])
        return name
