"""The lines of a JSON dump, with the place in the file after each, so that reading can continue there.

A dump is one JSON array with one entity per line ("Wikibase/DataModel/JSON", "Wikidata:Database download").
Its last line is the closing bracket: a file without it was cut off.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from connectors.border import MAX_BYTES, shown
from connectors.errors import SourceDataError, SourceSettingsError

_BUFFER = 2**20
_IDENTIFYING = 2**20
"""Bytes at the beginning of the file that tell one dump from another."""
_REPORTED = 1_000
"""Lines between two reports of progress."""
_GZIP, _BZIP2 = b"\x1f\x8b", b"BZh"


@dataclass(frozen=True, slots=True)
class EntityLine:
    """One line that holds an entity."""

    text: bytes
    """Without the comma that separates it from the next line."""
    after: int
    """Where the next line begins, in bytes of the uncompressed file."""


class DumpFile:
    """A dump on disk; `identity` is the same for the same file wherever it lies.

    Raises SourceSettingsError for a path that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.size = path.stat().st_size
            with path.open("rb") as file:
                beginning = file.read(_IDENTIFYING)
        except OSError as error:
            raise SourceSettingsError(f"{path} cannot be read: {error.strerror or error}") from error
        digest = hashlib.sha256(beginning)
        digest.update(str(self.size).encode())
        self.identity = digest.hexdigest()[:32]
        self._beginning = beginning[:16]

    def lines(self, start: int, report: Callable[[float], None] = lambda share: None) -> Iterator[EntityLine]:
        """The lines from byte `start` of the uncompressed file; `report` gets the share of the file that is read.

        Raises SourceDataError for a file that is damaged, is no dump or ends before the array does.
        """
        ended, number = False, 0
        try:
            with _Opened(self.path, self._beginning, self.size) as opened:
                stream = opened.stream
                stream.seek(start)
                while line := stream.readline(MAX_BYTES + 1):
                    if len(line) > MAX_BYTES:
                        raise SourceDataError(
                            f"{self.path}: a line at byte {stream.tell()} has more than {MAX_BYTES} bytes, so this "
                            "is not a dump with one entity per line"
                        )
                    text = line.strip().removesuffix(b",")
                    if ended and text:
                        raise SourceDataError(f"{self.path}: there is more after the closing bracket")
                    if text == b"]":
                        ended = True
                    elif text and text != b"[":
                        if not text.startswith(b"{"):
                            raise SourceDataError(
                                f"{self.path}: {shown(text[:60].decode(errors='replace'))} is not a line of a JSON "
                                "dump, which has one entity per line"
                            )
                        number += 1
                        if number % _REPORTED == 0:
                            report(opened.share())
                        yield EntityLine(text, stream.tell())
        except _damage() as error:
            raise SourceDataError(f"{self.path} is damaged: {error}") from error
        report(1.0)
        if not ended:
            raise SourceDataError(
                f"{self.path} ends before its closing bracket: it was not downloaded or copied completely. What was "
                "read is kept; the same command continues once the file is whole"
            )


class _Opened(AbstractContextManager["_Opened"]):
    """The uncompressed bytes of a file, and how much of the file was read for them."""

    def __init__(self, path: Path, beginning: bytes, size: int) -> None:
        self._raw = path.open("rb")
        self._size = max(1, size)
        self._inner = _decompressed(path, beginning, self._raw)
        self.stream = io.BufferedReader(self._inner, _BUFFER)

    def share(self) -> float:
        """From 0 to 1."""
        if hasattr(self._inner, "tell_compressed"):
            return min(1.0, float(self._inner.tell_compressed()) / 8 / self._size)
        return self._raw.tell() / self._size

    def __exit__(self, *_: object) -> None:
        self._inner.close()
        self._raw.close()


def _damage() -> tuple[type[Exception], ...]:
    """What the readers of gzip and bzip2 that are in use raise for a damaged file."""
    isal = sys.modules.get("isal.isal_zlib")
    return (EOFError, OSError, RuntimeError, ValueError, zlib.error, *([isal.error] if isal else []))


def _decompressed(path: Path, beginning: bytes, raw: BinaryIO) -> Any:
    """With the extra `dump`, isal reads gzip at three times the speed of the standard library, in constant memory, and
    rapidgzip reads bzip2 on every core; else the standard library reads both."""
    if beginning.startswith(_GZIP):
        try:
            from isal import igzip
        except ImportError:
            return gzip.GzipFile(fileobj=raw)
        return igzip.IGzipFile(fileobj=raw)
    if beginning.startswith(_BZIP2):
        try:
            import rapidgzip
        except ImportError:
            return bz2.BZ2File(raw)
        return rapidgzip.IndexedBzip2File(str(path), parallelization=0)
    return raw
