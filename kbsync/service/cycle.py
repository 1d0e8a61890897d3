"""One sync cycle: finish open runs, pull and admit, plan, and drive the new run to its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace

from editing.progress import TimedProgress, silent
from kbsync import telemetry
from kbsync.application import Application
from kbsync.deployment.live import lost, withheld
from kbsync.deployment.outbox import Outbox
from kbsync.executor import Worker
from kbsync.intake.report import IntakeReport
from kbsync.leadership import ACTOR, Leadership
from kbsync.runs import promotion, recovery
from kbsync.runs.ending import ENDS
from kbsync.runs.lifecycle import Lifecycle
from kbsync.runs.rollout import finish
from kbsync.runs.starting import Occasion, quiet_hours, start
from kbsync.service.forgotten_file import forget_again
from kbsync.service.housekeeping import clean_up
from kbsync.service.reading import pull
from kbsync.service.retention import apply_if_due
from state.records import Run

MOST_RUNS = 3
"""Maximum number of new runs in one cycle; anything left to build waits for the next."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a cycle reads."""

    bootstrap: bool = False
    """A first import: what stands long enough is believed at once, and the volume breaker does not apply."""
    only: frozenset[str] | None = None
    """The sources to read; None: all."""


EVERYTHING = Reading()


@dataclass(frozen=True, slots=True)
class CycleReport:
    """What one cycle did, for the command line and the daemon's log."""

    runs: tuple[Run, ...] = ()
    """Runs that this cycle continued or started, in their current state."""
    intake: dict[str, IntakeReport] = field(default_factory=dict)
    """By source; `due` is what was held until now."""
    unavailable: dict[str, str] = field(default_factory=dict)
    """Sources that could not be read, with the reason; their cursors did not move."""
    nothing: str = ""
    """Why no run was started, if none was."""


def cycle(
    app: Application,
    leadership: Leadership,
    *,
    trigger: str,
    asked: bool = True,
    reading: Reading = EVERYTHING,
    worker: Worker | None = None,
    progress: TimedProgress = silent,
) -> CycleReport:
    """Run one cycle to its end.  Raises Stopping (the run is resumed by the next cycle).

    `asked`: an operator wants a run now; the daemon's schedule follows the thresholds of [plan], and quiet hours.
    `worker` is kept by the caller for several cycles; by default a cycle has its own, which starts only if there is
    something to build: as soon as a source states something new, while the rest is read.
    """
    with telemetry.span("cycle", trigger=trigger, asked=asked):
        leadership.correct_instants()
        forget_again(app, leadership.write, ACTOR)
        clean_up(app, leadership)
        app.look_at_base()
        with nullcontext(worker) if worker else workers(app, leadership) as worker:
            lifecycle = Lifecycle(app, leadership, worker, progress, asked=asked, scheduled=not asked)
            with app.state.read() as tx:
                waits = withheld(tx, app.home)
            recovered = [] if waits else _recover(app, leadership, lifecycle)
            with app.state.read() as tx:
                unfinished = [run for run in tx.open_runs() if run.id not in {one.id for one in recovered}]
            runs = [*recovered, *(lifecycle.drive(run) for run in unfinished)]
            if not any(run.state == "promoted" for run in runs):
                notify_servers(app, leadership, asked=asked and not runs)
            reports, unavailable = pull(
                app,
                leadership,
                bootstrap=reading.bootstrap,
                only=reading.only,
                asked=asked,
                progress=progress,
                expect=lambda: worker.prepare(app.announced()),
            )
            leadership.renew()
            if waits:
                runs += _recover(app, leadership, lifecycle)
            # What was pulled may withdraw facts of a waiting candidate.
            runs = [lifecycle.drive(run) if run.state == "awaiting_review" else run for run in runs]
            new, nothing = _new_runs(lifecycle, runs, Occasion(trigger, asked))
        if waits and promotion.project(app.state, app.home, sources_read=True) is not None:
            notify_servers(app, leadership, asked=asked)
        _tidy(app, leadership)
        return CycleReport((*runs, *new), reports, unavailable, nothing)


def rebuild(
    app: Application,
    leadership: Leadership,
    *,
    worker: Worker | None = None,
    progress: TimedProgress = silent,
) -> CycleReport:
    """Build what is wanted again with the current settings, although nothing has changed; no source is read."""
    leadership.correct_instants()
    clean_up(app, leadership)
    app.look_at_base()
    with nullcontext(worker) if worker else workers(app, leadership) as worker:
        lifecycle = Lifecycle(app, leadership, worker, progress, asked=True)
        with app.state.read() as tx:
            unfinished = tx.open_runs()
        runs = [lifecycle.drive(run) for run in unfinished]
        new, nothing = _new_runs(lifecycle, runs, Occasion("kbsync rebuild", True, rebuild=True))
    clean_up(app, leadership)
    return CycleReport((*runs, *new), nothing=nothing)


def _tidy(app: Application, leadership: Leadership) -> None:
    """Remove what nothing refers to and, once a day, what was kept long enough."""
    clean_up(app, leadership)
    apply_if_due(app, leadership)


def _recover(app: Application, leadership: Leadership, lifecycle: Lifecycle) -> list[Run]:
    """Build live again if it is lost; returns the run that does so, if there is one."""
    reason = lost(app)
    if not reason:
        return []
    with app.state.read() as tx:
        before = tx.live()
    run = recovery.rebuild(app, leadership, reason, asked=lifecycle.asked)
    if run is None:
        return []
    driven = lifecycle.drive(run)
    with leadership.write() as tx:
        live = tx.live()
        if before is not None and live is not None and live.id != before.id:
            tx.collected(before.id)
            tx.put_check("live", True, f"built again as checkpoint {live.id}", ACTOR)
    promotion.project(app.state, app.home)
    return [driven]


def _new_runs(lifecycle: Lifecycle, unfinished: list[Run], occasion: Occasion) -> tuple[list[Run], str]:
    """Start and drive new runs; returns them, and why there is no further one.

    Usually there is one.  Another follows if the first only removed facts, or was made obsolete by a decision while
    it was built.
    """
    runs: list[Run] = []
    while len(runs) < MOST_RUNS:
        states = {run.state for run in (*unfinished, *runs)} - ENDS
        if "promoted" in states:
            return runs, "a run waits for its deploy hooks (`kbsync deployments`)" if not runs else ""
        if "staged" in states:
            why = quiet_hours(lifecycle.quiet_until())
            return runs, why or "a run waits until the ledger matches its log (`kbsync status`)"
        overtaken = lifecycle.outdated
        now = replace(
            occasion,
            asked=occasion.asked or overtaken > 0,
            in_review="awaiting_review" in states,
            overtaken=overtaken > 0,
            quiet_until=lifecycle.quiet_until(),
        )
        started = start(lifecycle.app, lifecycle.leadership, lifecycle.worker, now, lifecycle.progress)
        if isinstance(started, str):
            return runs, started if not runs else ""
        runs.append(lifecycle.drive(started.run))
        if not started.partial and lifecycle.outdated == overtaken:
            break
    return runs, ""


@contextmanager
def workers(app: Application, leadership: Leadership) -> Iterator[Worker]:
    """A worker for the duration of the block, which also imports the base; every heartbeat from it renews the lease."""
    with app.executor(alive=leadership.renew).worker(app.home.worker_log) as worker:
        before, app.importer = app.importer, worker.import_base
        try:
            yield worker
        finally:
            app.importer = before


def notify_servers(app: Application, leadership: Leadership, *, asked: bool = False) -> tuple[Run, ...]:
    """Continue promoted runs, and check that every server still serves what is live; returns the runs that ended.

    Covers what no open run does: rollbacks, restarted servers, hooks whose attempts are spent.
    """
    if promotion.project(app.state, app.home) is None:
        return ()
    with app.state.read() as tx:
        waiting = tx.runs(state="promoted")
    runs = [finish(app, leadership, run, asked=asked) for run in waiting]
    if not runs:
        Outbox(app, leadership).work(asked=asked)
    return tuple(run for run in runs if run.state in ENDS)
