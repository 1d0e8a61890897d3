"""`kbsync` commands and daemons as real processes, forked from a server that has imported everything.

A schedule of ten commands then costs what they do, not twenty seconds of imports each.  The worker is the
scripted one, forked by the daemon; every process looks for news more often than it would in service.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import alembic.command  # noqa: F401  children that need it find it imported, like what follows
import torch

import kbsync.cli
import kbsync.cli.app
import kbsync.runs.rollout
import kbsync.service.daemon
import kbsync.service.metrics
import kbsync.service.requests
from kbsync.executor import LocalWorker
from tests.support import scripted_process
from tests.support.forked_worker import Forked
from tests.support.forks import FORKS

torch.set_num_threads(1)
LOOK_S = 0.03


def start(
    home: Path, words: Sequence[str], output: Path, hold: Path, *, errors: Path | None = None
) -> BaseProcess:
    """The command `words` in a process of its own, which appends what it prints to `output`.

    What it prints on stderr goes to `errors`, or to `output` too.
    """
    process = FORKS.Process(target=_command, args=(home, tuple(words), output, hold, errors or output))
    process.start()
    return process


def _command(home: Path, words: Sequence[str], output: Path, hold: Path, errors: Path) -> None:
    """In the child: the command line's own `main`."""
    for path, descriptor in ((output, 1), (errors, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), descriptor)
    os.environ |= {"HF_HUB_OFFLINE": "1", "USER": "ada"}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    kbsync.service.requests.LOOK_S = kbsync.service.daemon.LOOK_S = LOOK_S

    def forked(worker: Any) -> Any:
        worker._log_file.parent.mkdir(parents=True, exist_ok=True)
        return Forked(worker._log_file, lambda: scripted_process.main(hold) or 0)

    LocalWorker._start = forked  # type: ignore[method-assign]
    try:
        kbsync.cli.main(["--home", str(home), *words])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
