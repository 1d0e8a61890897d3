"""Which checkpoints' weights can be compared, layer by layer."""

from __future__ import annotations

from pathlib import Path

from kbsync.application import Application
from kbsync.errors import UsageError
from kbsync.queries.kept import kept_checkpoint


def comparable(app: Application, before: int, after: int) -> tuple[Path, Path, Path]:
    """The directories of the base and of two kept checkpoints, whose matrices `compare_norms` compares.

    Raises state.errors.NotFound for an unknown number, UsageError if a checkpoint was deleted or their bases differ.
    """
    (old, old_directory), (new, new_directory) = (kept_checkpoint(app, id) for id in (before, after))
    if old.base != new.base:
        raise UsageError(
            "the two checkpoints are built from different bases, so their weights are not compared"
        )
    base = app.home.base / old.base
    if not base.is_dir():
        raise UsageError("the base that they are built from was deleted from the disk")
    return base, old_directory, new_directory
