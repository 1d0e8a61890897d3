"""What to say where events are not in the ledger any more ([retention] archive)."""

from __future__ import annotations

from collections.abc import Sequence

from state import Snapshot


def archived_note(tx: Snapshot, events: Sequence[object]) -> str:
    """Where the events are of something that has none in the ledger; empty if it has, or if nothing is archived."""
    cut = tx.cut()
    if events or cut is None:
        return ""
    return f"its events are archived, all from before {cut.before[:10]}: `kbsync audit show --archived` reads them"
