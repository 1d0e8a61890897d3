"""The log compared with what every witness keeps of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kbsync.application import Application
from kbsync.errors import KbsyncError
from kbsync.proofs import keys
from kbsync.proofs.witnesses import configured, newest_signed
from state.anchors import read_anchors
from state.errors import AnchorContradicted
from state.records import Anchor, Verification


@dataclass(frozen=True, slots=True)
class Compared:
    """The log, verified and compared with its witnesses."""

    found: Verification
    agreeing: Mapping[str, int]
    """How many heads of each witness are the log's."""
    silent: Mapping[str, KbsyncError] = field(default_factory=dict)
    """Witnesses that do not answer, or refuse the log or its key; what is kept of their heads was compared."""


def compare(
    app: Application, against: Path | None = None, *, tables: bool = False, incremental: bool = False
) -> Compared:
    """Verify the log and compare it with each witness, or with one file.

    Witnesses with an address are asked themselves, too.  `incremental`: from the newest signed head on, if a
    witness has one.  Raises what reading a file raises.
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
    silent: dict[str, KbsyncError] = {}
    if found.ok and against is None:
        found, silent = ask(app, found)
    return Compared(found, {name: len(lines) for name, lines in kept.items()}, silent)


def ask(app: Application, found: Verification) -> tuple[Verification, dict[str, KbsyncError]]:
    """What the witnesses themselves say of a log that verifies, and why some of them say nothing."""
    silent: dict[str, KbsyncError] = {}
    for witness in configured(app):
        try:
            witness.ask(app.state.audit, keys.signer(app))
        except AnchorContradicted as error:
            return replace(
                found, ok=False, first_bad=error.first_bad, reason=str(error), failed="anchors"
            ), {}
        except KbsyncError as error:
            silent[witness.name] = error
    return found, silent


def _start(app: Application, witnesses: Sequence[Sequence[Anchor]]) -> Anchor | None:
    origin = app.state.audit.origin()
    newest = [one for lines in witnesses if (one := newest_signed(lines, origin))]
    return max(newest, key=lambda one: one.seq, default=None)
