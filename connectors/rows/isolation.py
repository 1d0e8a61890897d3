"""Reads RDF and Parquet files in a process of their own, so that a file that crashes its parser costs itself.

Each file has its own process, limited in memory and time.  Whatever becomes of it, the caller gets rows
or a ConnectorError.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import IO

from connectors.border import escaped
from connectors.errors import SourceDataError
from connectors.rows.columns import Numbered
from connectors.rows.parsed_files import ParseRequest
from connectors.rows.row_lines import MAX_LINE, End, NotALine, numbered

READER = (sys.executable, "-P", "-m", "connectors.rows.reader_process")
"""`-P`: the current directory is no place to import from."""
_INHERITED = ("PATH", "HOME", "TMPDIR", "LANG")
_INHERITED_PREFIXES = ("PYTHON", "LD_", "LC_")
_SHOWN_LOG = 300


class ReaderDied(SourceDataError):
    """The process that read a file ended, or had to be ended, before the end of the file."""


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
        with tempfile.TemporaryFile() as log, self._started(log) as process:
            stopped = threading.Event()
            timer = threading.Timer(self.max_seconds, _end, (process, stopped))
            timer.daemon = True
            timer.start()
            try:
                yield from _answered(process, head, data)
            except _BrokeOff:
                process.kill()
                raise self._death(process.wait(), stopped.is_set(), log) from None
            finally:
                timer.cancel()
                process.kill()

    def _started(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        environment = {
            name: value
            for name, value in os.environ.items()
            if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
        }
        return subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            cwd="/",
            start_new_session=True,  # Ctrl-C is for the daemon
        )

    def _death(self, code: int, late: bool, log: IO[bytes]) -> ReaderDied:
        if late:
            return ReaderDied(
                f"it cannot be read within {self.max_seconds:g} s; split it, or raise `deadline_s`"
            )
        log.seek(0)
        *_, last = log.read(2**16).decode(errors="replace").strip().splitlines() or [""]
        how = f"exit code {code}" if code >= 0 else f"signal {_signal(-code)}"
        why = f": {escaped(last, _SHOWN_LOG)}" if last else ""
        return ReaderDied(
            f"the process that read it ended with {how}{why}. The file is damaged, or it needs more than "
            f"{self.max_memory // 2**20} MiB of memory (`max_memory`)"
        )


class _BrokeOff(Exception):
    """The answer of the process ended early or is not one."""


def _answered(process: subprocess.Popen[bytes], head: bytes, data: bytes) -> Iterator[Numbered]:
    """The rows that the process sends."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):  # it ended early: its answer shows how
        process.stdin.write(head)
        process.stdin.write(data)
    with suppress(BrokenPipeError):
        process.stdin.close()
    count = 0
    while (line := process.stdout.readline(MAX_LINE)).endswith(b"\n"):
        try:
            row = numbered(line)
        except End as end:
            if end.rows != count:
                break
            return
        except NotALine:
            break
        count += 1
        yield row
    raise _BrokeOff


def _end(process: subprocess.Popen[bytes], stopped: threading.Event) -> None:
    stopped.set()
    process.kill()


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"{number}"
