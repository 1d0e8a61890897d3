"""Which checkpoints are still on the disk, so that they can be asked and compared."""

from __future__ import annotations

from pathlib import Path

from kbsync.application import Application
from kbsync.errors import UsageError
from state.records import Checkpoint

MOST = 100


def kept_checkpoints(app: Application) -> tuple[Checkpoint, ...]:
    """The newest checkpoints with a directory, newest first, at most `MOST`."""
    with app.state.read() as tx:
        found = tx.kept_checkpoints(MOST)
    return tuple(one for one in found if app.home.checkpoint(one.path).is_dir())


def kept_checkpoint(app: Application, id: int) -> tuple[Checkpoint, Path]:
    """A checkpoint and its directory.  Raises state.errors.NotFound, and UsageError if it was deleted."""
    with app.state.read() as tx:
        found = tx.checkpoint(id)
    directory = app.home.checkpoint(found.path)
    if found.collected is not None or not directory.is_dir():
        raise UsageError(
            f"checkpoint {id} was deleted from the disk",
            "the pages and `kbsync checkpoints` name those that are kept; a pinned one is never deleted",
        )
    return found, directory
