"""Real processes that cost milliseconds: forked from a server that has imported everything already."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "state.ledger",
        "tests.support.ledger_writer",
        "tests.support.lives",
        "tests.support.forked_commands",
        "tests.support.warm_worker",
        "tests.support.warmed",
    ]
)


def end_processes_that_log_in(folder: Path) -> None:
    """Kill the processes whose stderr is a file below `folder`, and wait until they are gone.

    Workers outlive a daemon that was killed by a moment, and may still write into its home.
    """
    while pids := list(_that_log_in(folder)):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _that_log_in(folder: Path) -> Iterator[int]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if (process / "fd/2").readlink().is_relative_to(folder.resolve()):
                yield int(process.name)
