"""Files of events that were moved out of the ledger: compressed JSON lines, named by what is in them.

Such a file is never changed.  Its name ends with the beginning of its SHA-256, so that a process which dies between
writing a file and recording it in the log leaves a file that nothing names, and no file that is half of one.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import secrets
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from state.errors import ArchiveMissing, Damaged, Unreachable

SUFFIX = ".jsonl.gz"
_STAGING = ".staging-"
_BLOCK = 1 << 20
_LEVEL = 6


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """A file of the archive, as the log names it."""

    file: str
    """Its name in the archive's directory."""
    digest: str
    """SHA-256 of its bytes; empty if it is not read any more: its time is over, or it was away when a subject was
    forgotten."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The events from number `first` to `last`, all of them, in one file."""

    first: int
    last: int
    before: str
    """Every one of them is older than this instant."""
    content: ArchivedFile

    @property
    def unread(self) -> Segment:
        """The same, with a file that is not read any more, and is deleted if it turns up."""
        return replace(self, content=replace(self.content, digest=""))


class Archive:
    """The directory of a ledger's archived events; None: there is none."""

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory

    def has(self, one: ArchivedFile) -> bool:
        """Whether the file is there, and may be read."""
        return bool(one.digest) and self.directory is not None and (self.directory / one.file).is_file()

    def write(self, name: str, lines: Iterable[str]) -> ArchivedFile:
        """A new file of these lines, synced, with its final name.  Raises Unreachable where it cannot be written."""
        if self.directory is None:
            raise Unreachable("this ledger was opened without a directory for archived events")
        staging = self.directory / f"{_STAGING}{name}-{secrets.token_hex(4)}"
        try:
            self.directory.mkdir(mode=0o700, exist_ok=True)
            with staging.open("xb") as raw:
                os.fchmod(raw.fileno(), 0o600)
                with gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed:
                    for line in lines:
                        packed.write(line.encode("ascii") + b"\n")
                raw.flush()
                os.fsync(raw.fileno())
            digest = _digest(staging)
            made = ArchivedFile(f"{name}-{digest[:12]}{SUFFIX}", digest)
            staging.replace(self.directory / made.file)
            self._sync()
        except OSError as error:
            raise Unreachable(
                f"the archive {self.directory} cannot be written ({error.strerror or error}): nothing was archived; "
                "make room, or check its owner and mode"
            ) from error
        finally:
            staging.unlink(missing_ok=True)
        return made

    def lines(self, one: ArchivedFile) -> Iterator[bytes]:
        """The lines of a file whose every byte is as it was written.

        Raises ArchiveMissing where it is not there, and Damaged where it was changed.
        """
        if not self.has(one) or self.directory is None:
            raise ArchiveMissing(one.file, self.directory, ended=not one.digest)
        path = self.directory / one.file
        try:
            if _digest(path) != one.digest:
                raise Damaged(f"{path} is not the file that was written: restore it from a backup")
            with gzip.open(path, "rb") as packed:
                yield from packed
        except (OSError, EOFError, zlib.error) as error:
            raise Damaged(f"{path} cannot be read ({error}): restore it from a backup") from error

    def rows(self, segment: Segment) -> Iterator[dict[str, Any]]:
        """The events of a segment, with all columns.  Raises as `lines` does."""
        for line in self.lines(segment.content):
            yield json.loads(line)

    def names(self) -> list[str]:
        """Everything in the directory."""
        if self.directory is None or not self.directory.is_dir():
            return []
        return sorted(path.name for path in self.directory.iterdir() if path.is_file())

    def remove_all_but(self, kept: Collection[str]) -> list[str]:
        """Delete files that the log does not name: what was replaced, and what a killed process left."""
        gone = [
            name
            for name in self.names()
            if name not in kept and name.startswith((_STAGING, "events-", "state-"))
        ]
        for name in gone:
            with suppress(FileNotFoundError):
                (self._place() / name).unlink()
        if gone:
            self._sync()
        return gone

    def _place(self) -> Path:
        assert self.directory is not None
        return self.directory

    def _sync(self) -> None:
        descriptor = os.open(self._place(), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def line_of(row: Any) -> str:
    """An event as a line of a segment: every column, the salt of its seals too; ASCII."""
    return json.dumps(dict(row), separators=(",", ":"))


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()
