"""Whether the live checkpoint of the ledger exists on disk, and whether the link may lead to it."""

from __future__ import annotations

from pathlib import Path

from editing.errors import EditingError
from editing.storage.checkpoints import read_live, read_manifest
from kbsync.application import Application
from kbsync.home import Home
from state import Snapshot
from state.errors import named
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


def withheld(tx: Snapshot, home: Home, *, sources_read: bool = False) -> str:
    """Why `live` and the servers stay as they are although the ledger has another live checkpoint.

    Empty if they follow it.  Only after a restore: the backup's live checkpoint may state what was withdrawn since.
    What is served stays until the next cycle has read the sources (`sources_read`), and as long as that checkpoint
    states what is not wanted.
    """
    live, linked = tx.live(), read_live(home.checkpoints)
    if live is None or linked == live.path or not tx.restored_since_promotion():
        return ""
    if unwanted := tx.newly_unwanted(live.view, live.base, None):
        return f"checkpoint {live.id} of the restored ledger states what is not wanted any more: {named(unwanted)}"
    if sources_read or linked is None or not _is_checkpoint(home, linked):
        return ""
    return (
        f"the ledger was restored, and the sources were not read since: {home.live} still leads to {linked}"
    )


def _is_checkpoint(home: Home, name: str) -> bool:
    """Whether the name is that of a checkpoint in this home."""
    try:
        return Path(name).name == name and bool(read_manifest(home.checkpoint(name)))
    except EditingError:
        return False
