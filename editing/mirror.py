"""A second place of the cache, for machines that do not share a file system.

The cache is a directory.  Where a process works for a build whose cache is elsewhere, its directory mirrors that one:
what is missing is fetched when it is read, and what is stored is sent there at once.  Without a mirror, the directory
is all there is.  Torch-free.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Protocol


class Mirror(Protocol):
    """What a cache directory mirrors.  Files are named by where they are, or would be, in that directory."""

    def present(self, paths: Sequence[Path]) -> Collection[Path]:
        """Those of `paths` that are in the directory, or can be fetched."""
        ...

    def fetch(self, paths: Sequence[Path]) -> None:
        """Fetch those of `paths` that the directory lacks and the other place has."""
        ...

    def stored(self, path: Path) -> None:
        """Called as soon as `path` is complete in the directory."""
        ...

    def matching(self, directory: Path, pattern: str) -> list[Path]:
        """The files of `directory` that match a pattern of names, those that can be fetched included, sorted."""
        ...

    def remove(self, path: Path) -> None:
        """Remove `path` from both places; it may be missing."""
        ...


class OnlyDirectory:
    """No second place."""

    def present(self, paths: Sequence[Path]) -> Collection[Path]:
        return {path for path in paths if path.exists()}

    def fetch(self, paths: Sequence[Path]) -> None:
        """Nothing can be fetched."""

    def stored(self, path: Path) -> None:
        """The directory has it."""

    def matching(self, directory: Path, pattern: str) -> list[Path]:
        return sorted(directory.glob(pattern))

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)


_MIRROR: ContextVar[Mirror] = ContextVar("mirror", default=OnlyDirectory())  # noqa: B039  it has no state


def mirror() -> Mirror:
    """The mirror of this thread's work."""
    return _MIRROR.get()


@contextmanager
def mirrored(by: Mirror) -> Iterator[None]:
    """`by` is the mirror within the block."""
    token = _MIRROR.set(by)
    try:
        yield
    finally:
        _MIRROR.reset(token)
