"""Attempts at one round of a run: a bounded number, over all starts of the daemon, each in the ledger."""

from __future__ import annotations

from pathlib import Path

import structlog

from editing.durable import sweep
from editing.spec import BuildReport
from kbsync.application import Application
from kbsync.executor import Progress, Worker, WorkerFailed
from kbsync.leadership import Leadership
from state.records import Run

log = structlog.get_logger()

OUTCOMES = frozenset({"killed", "hung", "out_of_memory", "wrong_version"})
LOST = 20
"""Attempts of one round that may be lost with the daemon itself (restarts) beside those that fail."""


def attempt(
    app: Application, leadership: Leadership, worker: Worker, run: Run, spec: Path, progress: Progress
) -> BuildReport:
    """Let the worker answer the spec, again where that can help.  Raises WorkerFailed, Stopping."""
    most = app.settings.executor.attempts
    while True:
        begun = _begin(leadership, worker, run, most)
        try:
            report = worker.execute(spec, progress)
        except WorkerFailed as failure:
            sweep(spec.parent)  # what a killed worker left unfinished; nobody writes there now
            failed = _failed(leadership, run, begun, failure)
            if not failure.retry or failed >= most:
                raise
            log.warning("worker.retry", kind=failure.kind, reason=str(failure), attempt=failed)
        else:
            with leadership.write() as tx:
                tx.end_attempt(begun, "succeeded", {})
            return report


def _begin(leadership: Leadership, worker: Worker, run: Run, most: int) -> int:
    """A new attempt's id, after those that a killed daemon left open are written off."""
    with leadership.write() as tx:
        earlier = [one for one in tx.attempts(run.id) if one.round == run.round]
        for lost in (one for one in earlier if one.outcome == "running"):
            tx.end_attempt(lost.id, "lost", {"reason": "the daemon was stopped or killed meanwhile"})
        if len(earlier) >= most + LOST:
            raise WorkerFailed("killed", f"given up after {len(earlier)} attempts", retry=False)
        return tx.begin_attempt(run.id, worker.name).id


def _failed(leadership: Leadership, run: Run, begun: int, failure: WorkerFailed) -> int:
    """Write down how the attempt failed; how many of this round have failed by now."""
    with leadership.write() as tx:
        outcome = failure.kind if failure.kind in OUTCOMES else "failed"
        tx.end_attempt(begun, outcome, {"reason": str(failure)})  # type: ignore[arg-type]
        return sum(one.round == run.round and one.outcome != "lost" for one in tx.attempts(run.id))
