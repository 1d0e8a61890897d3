"""The log compared with what every witness keeps of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kbsync.application import Application
from kbsync.proofs.witnesses import configured, newest_signed
from state.anchors import read_anchors
from state.records import Anchor, Verification


def compare(
    app: Application, against: Path | None = None, *, tables: bool = False, incremental: bool = False
) -> tuple[Verification, Mapping[str, int]]:
    """Verify the log and compare it with each witness, or with one file; returns how many heads of each agree.

    `incremental`: from the newest signed head on, if a witness has one.  Raises what reading a file raises.
    """
    if against is None:
        kept = {witness.name: lines for witness in configured(app) if (lines := witness.kept())}
    else:
        kept = {str(against): read_anchors(against)}
    audit, witnesses = app.state.audit, tuple(kept.values())
    start = _start(app, witnesses) if incremental else None
    if start is not None:
        found = audit.verify_since(start, witnesses)
    elif tables:
        found = audit.verify_tables(witnesses=witnesses)
    else:
        found = audit.verify(witnesses=witnesses)
    return found, {name: len(lines) for name, lines in kept.items()}


def _start(app: Application, witnesses: Sequence[Sequence[Anchor]]) -> Anchor | None:
    origin = app.state.audit.origin()
    newest = [one for lines in witnesses if (one := newest_signed(lines, origin))]
    return max(newest, key=lambda one: one.seq, default=None)
