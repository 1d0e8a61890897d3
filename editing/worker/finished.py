"""Recognising a round that was finished before."""

from __future__ import annotations

from pathlib import Path

from editing.errors import EditingError
from editing.spec import BuildReport
from editing.storage.checkpoints import verify


def is_finished(report: Path, spec_digest: str) -> bool:
    """Whether `report` answers the spec with this digest, and its checkpoint is whole."""
    if not report.exists():
        return False
    try:
        found = BuildReport.read(report)
        return found.spec_digest == spec_digest and (
            not found.checkpoint_digest or verify(Path(found.checkpoint)) == found.checkpoint_digest
        )
    except EditingError:
        return False
