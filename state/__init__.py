"""What is remembered: slots, facts, views, runs, checkpoints and the audit log.

    from state import State
    state = State.open("sqlite:////srv/kbsync/kbsync.db")

The plain values (`state.records`) and the errors (`state.errors`) import in milliseconds; the
database layer behind `State` only when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from state import errors, records
from state.errors import StateError

if TYPE_CHECKING:
    from state.ledger import Snapshot, State, Transaction, utc_now

__all__ = ["Snapshot", "State", "StateError", "Transaction", "errors", "records", "utc_now"]

_LAZY = ("Snapshot", "State", "Transaction", "utc_now")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from state import ledger

        return getattr(ledger, name)
    raise AttributeError(f"module 'state' has no attribute {name!r}")
