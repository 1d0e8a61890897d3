"""Reads RDF and Parquet files in a process of their own, so that a file that crashes its parser costs itself.

Each file has its own process, limited in memory and time.  Whatever becomes of it, the caller gets rows
or a ConnectorError.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from connectors.rows.child import Child, ReaderLimits
from connectors.rows.columns import Numbered
from connectors.rows.parsed_files import ParseRequest

READER = (sys.executable, "-P", "-m", "connectors.rows.reader_process")
"""`-P`: the current directory is no place to import from."""


@dataclass(frozen=True, slots=True)
class Isolation:
    """Limits of the process that reads one file."""

    max_seconds: float
    max_memory: int
    """Bytes of address space."""
    command: tuple[str, ...] = READER

    def rows(self, request: ParseRequest, data: bytes) -> Iterator[Numbered]:
        """The rows of a file, as they arrive.

        Raises ReaderDied when the process crashes or needs too much time or memory, and otherwise what
        `parsed_rows` raises.
        """
        limits = {"max_memory": self.max_memory, "max_seconds": max(1, round(self.max_seconds))}
        head = json.dumps({**asdict(request), **limits}).encode() + b"\n"
        with self._started() as child, child.within_limits():
            child.send(head, data, last=True)
            yield from child.answer()

    def _started(self) -> Child:
        limits = ReaderLimits(
            self.max_seconds, self.max_memory, "; split it, or raise `deadline_s`", " (`max_memory`)"
        )
        return Child(self.command, limits)
