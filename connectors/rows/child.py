"""A process that parses what a source sent, so that bytes which crash a parser do not crash the daemon.

It is limited in memory and time, inherits no secret, and answers with the lines of `row_lines`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from connectors.border import escaped
from connectors.errors import SourceDataError
from connectors.rows.columns import Numbered
from connectors.rows.row_lines import MAX_LINE, End, NotALine, numbered

_INHERITED = ("PATH", "HOME", "TMPDIR", "LANG")
_INHERITED_PREFIXES = ("PYTHON", "LD_", "LC_")
_SHOWN_LOG = 300


class ReaderDied(SourceDataError):
    """The process that read something ended, or had to be ended, before it had answered.

    `late`: it took too long.
    """

    def __init__(self, message: str, *, late: bool = False) -> None:
        super().__init__(message)
        self.late = late


@dataclass(frozen=True, slots=True)
class ReaderLimits:
    """What a process may use, and what to do about something that needs more."""

    max_seconds: float
    """Seconds for one answer."""
    max_memory: int
    """Bytes of address space."""
    when_late: str = ""
    """Advice about something that takes too long."""
    when_large: str = ""
    """Advice about something that needs too much memory."""


class Child:
    """A started process.  `close` it, or use it as a context manager."""

    def __init__(self, command: Sequence[str], limits: ReaderLimits) -> None:
        self._limits = limits
        self._late = threading.Event()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the process)
        environment = {
            name: value
            for name, value in os.environ.items()
            if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
        }
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=environment,
                cwd="/",
                start_new_session=True,  # Ctrl-C is for the daemon
            )
        except BaseException:
            self._log.close()
            raise

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process has ended and was waited for."""
        return self._process.returncode is not None

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        with self._process:  # closes its pipes and waits for it
            pass
        self._log.close()

    def send(self, *parts: bytes, last: bool = False) -> None:
        """Write to its stdin; `last`: nothing follows.  If it has ended, its answer shows how."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            for part in parts:
                self._process.stdin.write(part)
            self._process.stdin.flush()
        if last:
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    @contextmanager
    def within_limits(self) -> Iterator[None]:
        """End the process unless the block, which sends and reads one answer, is done in `max_seconds`."""
        timer = threading.Timer(self._limits.max_seconds, self._end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def answer(self) -> Iterator[Numbered]:
        """The rows of one answer, as they arrive.

        Raises ReaderDied if the answer ends early or is not one, and the error that the process reports.
        """
        assert self._process.stdout is not None
        count = 0
        while (line := self._process.stdout.readline(MAX_LINE)).endswith(b"\n"):
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
        raise self._death()

    def _end(self) -> None:
        self._late.set()
        self._process.kill()

    def _death(self) -> ReaderDied:
        self._process.kill()
        code = self._process.wait()
        if self._late.is_set():
            return ReaderDied(
                f"it cannot be read within {self._limits.max_seconds:g} s{self._limits.when_late}", late=True
            )
        self._log.seek(0)
        *_, last = self._log.read(2**16).decode(errors="replace").strip().splitlines() or [""]
        how = f"exit code {code}" if code >= 0 else f"signal {_signal(-code)}"
        why = f": {escaped(last, _SHOWN_LOG)}" if last else ""
        return ReaderDied(
            f"the process that read it ended with {how}{why}. It is damaged, or it needs more than "
            f"{self._limits.max_memory // 2**20} MiB of memory{self._limits.when_large}"
        )


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"{number}"
