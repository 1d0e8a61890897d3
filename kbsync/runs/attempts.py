"""Asking the worker, with a bounded number of retries if they can help.

Attempts at a round of a run are counted across restarts of the daemon, each in the ledger; attempts at a
question outside any run are counted in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog

from editing.durable import sweep
from editing.errors import FailureKind
from editing.progress import TimedProgress
from editing.spec import BuildReport
from kbsync.application import Application
from kbsync.executor import Worker, WorkerFailed
from kbsync.leadership import Leadership
from state.records import AttemptOutcome, Run

log = structlog.get_logger()

OUTCOMES: Mapping[FailureKind, AttemptOutcome] = {
    "killed": "killed",
    "out_of_memory": "out_of_memory",
    "hung": "hung",
    "wrong_version": "wrong_version",
    "bad_spec": "failed",
    "data": "failed",
    "internal": "failed",
}
"""How the ledger records an attempt that failed."""
LOST = 20
"""Attempts at one round that may be lost because the daemon was restarted, in addition to failed ones."""


def attempt(
    app: Application, leadership: Leadership, worker: Worker, run: Run, spec: Path, progress: TimedProgress
) -> BuildReport:
    """The worker's report on a round of `run`; every attempt is recorded.  Raises WorkerFailed, Stopping."""
    record = _InLedger(app, leadership, worker, run)
    return _answered(worker, spec, progress, record, app.settings.executor.attempts)


def ask(app: Application, worker: Worker, spec: Path, progress: TimedProgress) -> BuildReport:
    """The worker's answer to a question outside any run.  Raises WorkerFailed, Stopping."""
    return _answered(worker, spec, progress, _InMemory(), app.settings.executor.attempts)


class _Record(Protocol):
    """Counts the attempts at one spec."""

    def begin(self) -> None:
        """Record that an attempt begins; raises WorkerFailed if there were too many."""

    def failed(self, failure: WorkerFailed) -> int:
        """Record how the attempt failed; returns how many have failed so far."""

    def succeeded(self) -> None:
        """Record that the attempt succeeded."""


def _answered(worker: Worker, spec: Path, progress: TimedProgress, record: _Record, most: int) -> BuildReport:
    while True:
        record.begin()
        try:
            report = worker.execute(spec, progress)
        except WorkerFailed as failure:
            sweep(spec.parent)  # what a killed worker left unfinished; nobody writes there now
            failed = record.failed(failure)
            if not failure.retry or failed >= most:
                raise
            log.warning("worker.retry", kind=failure.kind, reason=str(failure), attempt=failed)
        else:
            record.succeeded()
            return report


@dataclass
class _InMemory:
    count: int = 0

    def begin(self) -> None:
        """Nothing is recorded."""

    def failed(self, failure: WorkerFailed) -> int:
        self.count += 1
        return self.count

    def succeeded(self) -> None:
        """Nothing is recorded."""


@dataclass
class _InLedger:
    app: Application
    leadership: Leadership
    worker: Worker
    run: Run
    _begun: int = field(default=0, init=False)

    def begin(self) -> None:
        """A new attempt; those that a killed daemon left open are first recorded as lost."""
        with self.leadership.write() as tx:
            earlier = [one for one in tx.attempts(self.run.id) if one.round == self.run.round]
            for lost in (one for one in earlier if one.outcome == "running"):
                tx.end_attempt(lost.id, "lost", {"reason": "the daemon was stopped or killed meanwhile"})
            if len(earlier) >= self.app.settings.executor.attempts + LOST:
                raise WorkerFailed(
                    "killed",
                    f"given up after {len(earlier)} attempts",
                    retry=False,
                    log=self.app.home.worker_log,
                )
            self._begun = tx.begin_attempt(self.run.id, self.worker.name).id

    def failed(self, failure: WorkerFailed) -> int:
        with self.leadership.write() as tx:
            evidence = {"kind": failure.kind, "reason": str(failure)}
            tx.end_attempt(self._begun, OUTCOMES[failure.kind], evidence)
            attempts = tx.attempts(self.run.id)
            return sum(one.round == self.run.round and one.outcome != "lost" for one in attempts)

    def succeeded(self) -> None:
        with self.leadership.write() as tx:
            tx.end_attempt(self._begun, "succeeded", {})
