"""An imported base in memory, verified before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editing.model.loading import load_model, load_tokenizer
from editing.progress import Progress, silent
from editing.storage.checkpoints import verify


@dataclass(frozen=True)
class LoadedBase:
    """A base's model and tokenizer."""

    digest: str
    model: Any
    tokenizer: Any


def load_base(directory: Path, *, device: str | None = None, progress: Progress = silent) -> LoadedBase:
    """Load the imported base in `directory` after verifying every byte of it.

    Raises DamagedCheckpoint, ModelError.
    """
    progress("load", 0, 1)
    digest = verify(directory)
    loaded = LoadedBase(digest, load_model(directory, device=device), load_tokenizer(directory))
    progress("load", 1, 1)
    return loaded
