"""What the forked processes of these tests do: whole lives of a kbsync, with workers of their own.

Everything is the real thing (settings, lease, cycle, worker process and its protocol); only the start
of the two Python processes is a fork instead of an exec, which saves some seconds of imports each.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import alembic.command  # noqa: F401  children that need it find it imported, like what follows
import torch
from transformers import AutoTokenizer, GPT2LMHeadModel  # noqa: F401

import editing.worker.process
import editing.worker.rounds
import kbsync.runs.rollout  # noqa: F401
from editing.crashpoints import VARIABLE
from editing.progress import TimedProgress
from kbsync import logs
from kbsync.application import Application
from kbsync.executor import LocalExecutor, LocalWorker, WorkerFailed
from kbsync.home import Home
from kbsync.runs import promotion, review
from kbsync.service.cycle import Reading, cycle
from kbsync.settings.loading import load
from tests.support.forked_worker import Forked

torch.set_num_threads(1)


def switch_for_ever(plan: Plan, told: Connection) -> None:
    """Makes two kept checkpoints live in turn, until it is killed."""
    home = Home(plan.root / "home")
    app = Application(home, load(home.config, {}), now=lambda: plan.now)
    with app.leading() as leadership:
        told.send("begun")
        while True:
            with app.state.read() as tx:
                other = tx.previous()
            assert other is not None
            promotion.verify(home, other)
            with app.state.write() as tx:
                tx.promote(other.id, leadership.lease, reason="back and forth")
            promotion.project(app.state, home)


@dataclass(frozen=True)
class Plan:
    """One life: which home, when, what it does, and what befalls it."""

    root: Path
    """Of a micro world."""
    now: datetime
    """When it starts; the world's own clock may be set back."""
    does: str = "sync"
    """sync, rollback, approve."""
    crash: str | None = None
    """Dies at this crash point; of several workers only the first is armed."""
    together: bool = True
    """Whether the daemon dies with its worker when that dies at a crash point."""
    memory: int | None = None
    """Bytes of address space that a worker may add to what it starts with."""
    asked: bool = True
    """Whether a person wants the cycle now."""
    bootstrap: bool = False
    """Whether it is the first import."""
    version: int | None = None
    """Of the protocol that the workers speak, if not ours."""


def live(plan: Plan, told: Connection) -> None:
    """One life of a process, from its start to its end or to its violent death; tells how it ended."""
    try:
        _live(plan, told)
    except Exception as error:
        told.send(f"{type(error).__name__}: {error}")
        raise


def _live(plan: Plan, told: Connection) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    if plan.crash is not None:
        os.environ[VARIABLE] = plan.crash
    home = Home(plan.root / "home")
    started = time.monotonic()
    settings = load(home.config, {})
    logs.configure(settings.log)
    app = Application(home, settings, now=lambda: plan.now + timedelta(seconds=time.monotonic() - started))
    # As the daemon does it: SIGTERM asks, and what is at work ends at its next safe point.
    signal.signal(signal.SIGTERM, lambda *_: app.stopping.set())
    told.send("begun")
    with app.leading() as leadership, workers(app, leadership.renew, plan, told) as worker:
        if plan.does == "rollback":
            promotion.rollback(
                app,
                leadership,
                target=None,
                reason="wrong",
                actor="tester",
            )
        if plan.does == "approve":
            with app.state.read() as tx:
                waiting = [run.id for run in tx.runs(state="awaiting_review")]
            for run in waiting:
                review.approve_run(app, leadership, run, "looks right", "tester")
        report = cycle(
            app,
            leadership,
            trigger="test",
            worker=worker,
            asked=plan.asked,
            reading=Reading(plan.bootstrap),
            progress=_progress(told),
        )
    app.close()
    told.send(([(run.id, run.state, run.reason) for run in report.runs], report.nothing))


def _progress(told: Connection) -> TimedProgress:
    """Tells each phase once."""
    seen: set[str] = set()

    def tell(phase: str, done: int, total: int, eta_s: float | None) -> None:
        if phase not in seen:
            seen.add(phase)
            told.send(("phase", phase))

    return tell


def _work(plan: Plan) -> int:
    """The worker's `main`, after what befalls this worker was arranged."""
    os.environ.pop(VARIABLE, None)
    if plan.crash is not None:
        os.environ[VARIABLE] = plan.crash
    if plan.memory is not None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + plan.memory, used + plan.memory))
    if plan.version is not None:
        editing.worker.process.SPEC_VERSION = plan.version
    return editing.worker.process.main()


class ForkedWorker(LocalWorker):
    """The supervised worker, started by fork; tells its pid."""

    def __init__(self, settings: LocalExecutor, log_file: Path, plan: Plan, told: Connection) -> None:
        super().__init__(settings, log_file)
        self._plan, self._told, self._started = plan, told, 0

    def _start(self) -> Any:
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        self._started += 1
        armed = self._plan.crash if self._started == 1 else None
        process = Forked(self._log_file, partial(_work, replace(self._plan, crash=armed)))
        self._told.send(("worker", process.pid))
        return process

    def _death(self, process: Any) -> WorkerFailed:
        failure = super()._death(process)
        if self._plan.crash is not None and self._plan.together:
            os.kill(os.getpid(), signal.SIGKILL)
        return failure


@contextmanager
def workers(
    app: Application, alive: Callable[[], None], plan: Plan, told: Connection
) -> Iterator[ForkedWorker]:
    chosen = app.executor(alive=alive)
    assert isinstance(chosen, LocalExecutor)
    worker = ForkedWorker(chosen, app.home.worker_log, plan, told)
    try:
        yield worker
    finally:
        worker.stop()
