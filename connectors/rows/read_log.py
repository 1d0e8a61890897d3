"""`done/.read.jsonl`: the files that were read from a drop folder, in order, with their revisions.

Files are moved away once they are read, so a ledger that was restored from a backup would never see again what
was dropped after the backup was made.  This list says which files those are: the entries at its end whose
revisions are greater than the one in the ledger's cursor.
"""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from connectors.border import decode_json
from connectors.cursors import typed
from connectors.errors import SourceDataError

READ_LOG = ".read.jsonl"
_MAX_LINE = 4096
_PIECE = 2**16
_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReadFile:
    """One file that was read to its end."""

    name: str
    identity: str
    revision: int
    """Of the observations that were made of it."""


def append(done: int, entry: ReadFile) -> None:
    """Add an entry to the list in the folder with the descriptor `done`, and wait until it is stored.

    Raises OSError, and SourceDataError if the list is no regular file.
    """
    line = json.dumps(asdict(entry), ensure_ascii=True, separators=(",", ":")) + "\n"
    descriptor = os.open(READ_LOG, os.O_RDWR | os.O_APPEND | os.O_CREAT | _FLAGS, 0o600, dir_fd=done)
    with os.fdopen(descriptor, "ab") as file:
        _require_file(descriptor)
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            file.write(b"\n")  # ends a line that a full disk or a crash has cut short
        file.write(line.encode())
        file.flush()
        os.fsync(descriptor)


def read_after(done: int, revision: int) -> list[ReadFile]:
    """The entries at the end of the list with revisions greater than `revision`, in their order.

    What other ledgers have read before is not among them, whatever their clocks were.  Lines that are not entries
    are ignored with a warning.  Raises OSError, and SourceDataError if the list is no regular file.
    """
    try:
        descriptor = os.open(READ_LOG, os.O_RDONLY | _FLAGS, dir_fd=done)
    except FileNotFoundError:
        return []
    found: list[ReadFile] = []
    try:
        _require_file(descriptor)
        for line in _lines_from_the_end(descriptor):
            entry = _entry(line)
            if entry is None:
                continue
            if entry.revision <= revision:
                break
            if entry not in found[-1:]:  # a process that was killed before it moved the file adds it again
                found.append(entry)
    finally:
        os.close(descriptor)
    return found[::-1]


def _require_file(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise SourceDataError(f"done/{READ_LOG} is not a regular file; remove it")


def _lines_from_the_end(descriptor: int) -> Iterator[bytes]:
    """The lines of a file, last one first; a longer line than an entry can be comes in pieces."""
    end, rest = os.fstat(descriptor).st_size, b""
    while end:
        start = max(0, end - _PIECE)
        first, *lines = (os.pread(descriptor, end - start, start) + rest).split(b"\n")
        yield from (line for line in reversed(lines) if line)
        rest = first[:_MAX_LINE]
        end = start
    if rest:
        yield rest


def _entry(line: bytes) -> ReadFile | None:
    try:
        return typed(ReadFile)(**decode_json(line, READ_LOG, _MAX_LINE))
    except (SourceDataError, ValueError, TypeError) as error:
        _log.warning("done/%s: a line is ignored: %s", READ_LOG, error)
        return None
