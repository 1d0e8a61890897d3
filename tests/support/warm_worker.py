"""The worker as a real process, forked from a server that has imported torch and transformers already.

It is what `python -m editing.worker` starts, with the environment that the daemon would give it and its own
descriptors; only the four seconds of imports are saved, which a build of a tiny model takes many times over.
"""

from __future__ import annotations

import os
import subprocess
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

import editing.worker.process
from editing.crashpoints import VARIABLE
from kbsync import executor
from kbsync.environments import COMPUTE_PREFIXES, minimal
from tests.support.forked_worker import become_worker
from tests.support.forks import FORKS


def start(worker: executor.LocalWorker) -> Any:
    """In place of `LocalWorker._start`."""
    environment = minimal(named=(VARIABLE, *worker._settings.environment), prefixes=COMPUTE_PREFIXES)
    worker._log_file.parent.mkdir(parents=True, exist_ok=True)
    return WarmWorker(worker._log_file, environment)


class WarmWorker:
    """A stand-in for `subprocess.Popen` as LocalWorker uses it."""

    def __init__(self, log_file: Path, environment: dict[str, str]) -> None:
        inward, to_worker = FORKS.Pipe(duplex=False)
        from_worker, outward = FORKS.Pipe(duplex=False)
        self._process = FORKS.Process(
            target=_serve, args=(inward, outward, log_file, environment, os.getcwd())
        )
        self._process.start()
        inward.close()
        outward.close()
        self.pid = self._process.pid
        self.stdin: IO[str] = _file(to_worker, "w")
        self.stdout: IO[str] = _file(from_worker, "r")

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("worker", timeout or 0)
        return self._process.exitcode

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _file(end: Connection, mode: str) -> IO[str]:
    descriptor = os.dup(end.fileno())
    end.close()
    return os.fdopen(descriptor, mode, encoding="utf-8")


def _serve(
    inward: Connection, outward: Connection, log_file: Path, environment: dict[str, str], directory: str
) -> None:
    """In the child: becomes the worker."""
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    become_worker(inward.fileno(), outward.fileno(), log_file, editing.worker.process.main)
