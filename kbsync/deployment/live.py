"""Whether the live checkpoint of the ledger exists on disk."""

from __future__ import annotations

from editing.errors import EditingError
from editing.storage.checkpoints import read_manifest
from kbsync.application import Application
from kbsync.home import Home
from state.records import Checkpoint


def absent(home: Home, checkpoint: Checkpoint) -> str:
    """Why the checkpoint's directory cannot be served; empty if it can.  A cheap check that reads no weights."""
    directory = home.checkpoint(checkpoint.path)
    if not directory.exists():
        return f"{directory} is missing"
    try:
        digest = read_manifest(directory).digest
    except EditingError as error:
        return str(error)
    if digest != checkpoint.digest:
        return f"{directory} holds another checkpoint than the ledger's ({digest[:12]}…)"
    return ""


def lost(app: Application) -> str:
    """Why live has to be built again, if it has: it is missing, or its bytes were found damaged."""
    with app.state.read() as tx:
        live, checked = tx.live(), tx.checks().get("live")
    if live is None:
        return ""
    if reason := absent(app.home, live):
        return reason
    if checked is not None and not checked.ok and (live.promoted is None or checked.since >= live.promoted):
        return checked.detail
    return ""
