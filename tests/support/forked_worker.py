"""A worker process made by fork: a real process that can be killed, without the seconds of imports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO


class Forked:
    """A worker process as LocalWorker wants it: a stand-in for `subprocess.Popen`.

    `main` speaks the worker's protocol on stdin and stdout, and returns its exit code.
    """

    def __init__(self, log_file: Path, main: Callable[[], int]) -> None:
        inward, outward = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            become_worker(inward[0], outward[1], log_file, main)
        os.close(inward[0])
        os.close(outward[1])
        self.stdin: IO[str] = os.fdopen(inward[1], "w", encoding="utf-8")
        self.stdout: IO[str] = os.fdopen(outward[0], "r", encoding="utf-8")
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("worker", timeout or 0)
            time.sleep(0.002)
        return code

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def become_worker(stdin: int, stdout: int, log_file: Path, main: Callable[[], int]) -> None:
    """In the child: `main` on these descriptors and no others; never returns."""
    code = 1
    try:
        os.setsid()
        # What the daemon does at SIGTERM is not what a worker does.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.dup2(stdin, 0)
        os.dup2(stdout, 1)
        os.dup2(os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), 2)
        os.closerange(3, 4096)  # the daemon's lock and database are not the worker's
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        code = main()
    except BaseException:  # noqa: BLE001  nothing may unwind into the parent's frames
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)
