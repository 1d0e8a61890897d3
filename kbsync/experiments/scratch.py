"""Caches of single trials: δs of other weights are not reused there, and durations are those of a new edit."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHARED = ("stats", "attention", "prefixes", "self-tests", "samples", "networks")
"""Folders of the cache that depend on the base alone, not on the facts."""


@contextmanager
def scratch_cache(cache: Path) -> Iterator[Path]:
    """An empty cache that shares with `cache` what depends on the base alone; removed at the end of the block."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=cache) as name:
        for folder in SHARED:
            (cache / folder).mkdir(exist_ok=True)
            (Path(name) / folder).symlink_to((cache / folder).resolve(), target_is_directory=True)
        yield Path(name)
