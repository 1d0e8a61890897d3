"""`kbsync run`: cycles on schedule until SIGTERM.

The schedule only puts the names of jobs into a queue.  One loop processes it in order, so two cycles never run at
once, and a heartbeat shows that the loop is alive.  All durable state is in the ledger.
"""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from datetime import timedelta
from functools import partial

import structlog

from connectors.errors import ConnectorError
from editing.errors import EditingError
from kbsync.application import Application
from kbsync.errors import KbsyncError
from kbsync.executor import Stopping
from kbsync.home import HomeInUse
from kbsync.leadership import Leadership
from kbsync.queries.config_check import check_settings
from kbsync.runs import integrity
from kbsync.runs.outdated import withdrawn_by_a_person
from kbsync.service import agenda
from kbsync.service.cycle import Reading, cycle, notify_servers
from kbsync.service.health import serving
from kbsync.service.heartbeat import Heartbeat
from kbsync.service.reading import reconcile
from kbsync.service.requests import LOOK_S, Desk, Interrupted
from kbsync.service.schedule import Schedule
from kbsync.service.scrub import scrub
from kbsync.service.systemd import extend_timeout, notify, reloading
from kbsync.service.webhooks import delivering
from kbsync.settings.sections import Settings
from state.errors import StaleLeader, StateError, Unavailable
from state.instants import clock_is_set

log = structlog.get_logger()

Job = Callable[[Leadership], None]
Pages = Callable[[Application, Heartbeat], AbstractContextManager[None]]
"""Serves the review pages while the block lasts."""

HANDOVER_S = 30.0
"""How long a starting daemon waits for a command that leads; after that, the service manager starts it again."""
START_TIME = timedelta(minutes=30)
"""Time that a start may take, most of it for migrating a large ledger, during which nothing else can be reported."""
STOP_TIME = timedelta(seconds=30)
"""Time that a stop may take besides that of a worker ([executor] stop_timeout)."""


class Daemon:
    """Runs jobs one after the other, as leader, until it is asked to stop."""

    def __init__(
        self,
        app: Application,
        reload: Callable[[], Settings] | None = None,
        pages: Pages = lambda app, heartbeat: nullcontext(),
        hung_up: threading.Event | None = None,
    ) -> None:
        """`reload` reads the settings again when a SIGHUP has set `hung_up`; without it, that is ignored.

        `pages` is entered while the daemon runs; by default it serves none.
        """
        self.app = app
        self._pages = pages
        self._reload = reload
        self._hung_up = hung_up or threading.Event()
        self.started = False
        """Whether it has begun to work: it leads, and serves what it should."""
        self._queue: queue.Queue[str] = queue.Queue()
        self._jobs: dict[str, Job] = {
            "sync": self._sync,
            "reconcile": self._reconcile,
            "audit": self._audit,
            "verify": self._verify,
            "scrub": self._scrub,
        }
        if app.settings.state.anchor is not None or app.settings.state.witnesses:
            self._jobs["anchor"] = self._anchor
        if app.settings.deploy:
            self._jobs["deploy"] = self._deploy
        for name in app.settings.own_timings():
            self._jobs[f"{agenda.OF_SOURCE}{name}"] = partial(self._sync, only=frozenset({name}))
        self._heartbeat = Heartbeat()
        self._seen = 0
        """Number of the newest event that was processed."""
        self._quiet = False
        self._clock_reported = False
        self._ledger_reported = False
        self._last_job = time.monotonic()

    def run(self) -> Settings | None:
        """Blocks until SIGTERM or SIGINT, or until a SIGHUP has loaded other settings, which are returned.

        Raises TryLater or LeaseHeld if another daemon leads.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop())
        found = None
        extend_timeout(START_TIME)
        with (
            self._leading() as leadership,
            serving(self.app, self._heartbeat),
            self._pages(self.app, self._heartbeat),
            delivering(self.app),
        ):
            leadership.pulse = self._beat
            schedule = self._schedule()
            schedule.start()
            self.started = True
            log.info("daemon.started", home=str(self.app.home.root))
            notify("READY=1")
            try:
                for name in ("sync", *agenda.missed_sources(self.app), "verify", "scrub"):
                    self._enqueue(name)
                found = self._work(leadership, schedule)
            finally:
                if found is None:
                    notify("STOPPING=1")
                else:
                    reloading()
                schedule.shutdown()
        log.info("daemon.stopped" if found is None else "daemon.reloads")
        return found

    def _stop(self) -> None:
        """Stop at the next safe point, and ask the service manager for the time that this may take."""
        if not self.app.stopping.is_set():
            self.app.stopping.set()
            extend_timeout(self.app.settings.executor.stop_timeout + STOP_TIME)

    @contextmanager
    def _leading(self) -> Iterator[Leadership]:
        """Become leader as soon as a command that is running in this home has ended; waits a while for that."""
        deadline = time.monotonic() + HANDOVER_S
        with ExitStack() as stack:
            while True:
                try:
                    leadership = stack.enter_context(self.app.leading())
                except HomeInUse as error:
                    if time.monotonic() > deadline or self.app.stopping.is_set():
                        raise
                    log.info("daemon.waits", reason=str(error))
                    self.app.stopping.wait(1.0)
                else:
                    break
            yield leadership

    def _schedule(self) -> Schedule:
        zone = self.app.settings.schedule.timezone
        return Schedule(agenda.timings(self.app.settings, self._jobs), self._enqueue, zone=zone)

    def _enqueue(self, name: str) -> None:
        if name not in self._queue.queue:
            self._queue.put(name)

    def _beat(self) -> None:
        """Called at every turn of the loop and, during long work, at every sign of progress."""
        self._heartbeat.beat()
        notify("WATCHDOG=1")

    def _work(self, leadership: Leadership, schedule: Schedule) -> Settings | None:
        """Run turns until the daemon is to stop or SIGHUP has loaded other settings."""
        desk = Desk(self.app, leadership)
        self._last_job = time.monotonic()
        while not self.app.stopping.is_set():
            try:
                if (settings := self._turn(leadership, schedule, desk)) is not None:
                    return settings
            except Unavailable as error:
                self._wait_for_the_ledger(error)
            else:
                self._ledger_reported = False
        return None

    def _turn(self, leadership: Leadership, schedule: Schedule, desk: Desk) -> Settings | None:
        """One turn: check everything that may be due, and do at most one thing; other settings end the loop.

        Raises state.errors.Unavailable while the ledger's database cannot be reached.
        """
        leadership.renew()
        if schedule.look():
            leadership.correct_instants()
        if not clock_is_set(self.app.now()):
            self._wait_for_the_clock()
            self._last_job = time.monotonic()
            return None
        if self._hung_up.is_set() and (settings := self._new_settings()) is not None:
            return settings
        if self._serve(desk):
            return None
        if self._retracted() or self._quiet_hours_ended():
            self._enqueue("sync")
        try:
            name = self._queue.get(timeout=LOOK_S)
        except queue.Empty:
            self._watch(schedule, self._last_job)
            return None
        self._last_job = time.monotonic()
        if not self._paused():  # checked now, since a pause may have come while the queue was waited for
            self._perform(name, leadership, desk)
        return None

    def _wait_for_the_ledger(self, error: Unavailable) -> None:
        """Wait for a moment, and log why once: a database that restarts is no reason to exit."""
        if not self._ledger_reported:
            self._ledger_reported = True
            log.error(
                "ledger.unavailable", reason=str(error), advice="the daemon waits until it answers again"
            )
        self._last_job = time.monotonic()
        self.app.stopping.wait(1.0)

    def _new_settings(self) -> Settings | None:
        """The current settings, if they are valid; otherwise the log says why not, and the old ones stay."""
        self._hung_up.clear()
        if self._reload is None:
            return None
        try:
            settings = self._reload()
            with Application(self.app.home, settings, now=self.app.now) as candidate:
                problems = check_settings(candidate).problems
        except (KbsyncError, StateError, ConnectorError, EditingError, OSError) as error:
            log.error("settings.refused", reason=str(error), advice=getattr(error, "advice", None))
            return None
        for problem in problems:
            log.error("settings.refused", where=problem.where, reason=problem.what, advice=problem.advice)
        return None if problems else settings

    def _retracted(self) -> bool:
        """Whether an operator has retracted something that live states since the last call."""
        with self.app.state.read() as tx:
            head, seen = tx.head(), self._seen
            self._seen = head.seq if head else 0
            if self._seen == seen or not tx.events(after=seen, kind="fact.rejected", limit=1):
                return False
            return withdrawn_by_a_person(tx)

    def _quiet_hours_ended(self) -> bool:
        """Whether quiet hours have ended since the last call: what waited for that goes on."""
        before, self._quiet = self._quiet, self.app.settings.schedule.quiet_until(self.app.now()) is not None
        return before and not self._quiet

    def _serve(self, desk: Desk) -> bool:
        """Carry out one request, if one is waiting."""
        request = desk.next()
        if request is None:
            return False
        try:
            desk.carry_out(request)
        except Stopping:
            log.info("request.postponed", request=request.id, action=request.action)
        if "deploy" in self._jobs:
            self._enqueue("deploy")
        return True

    def _wait_for_the_clock(self) -> None:
        """Wait for a moment, and log why once."""
        if not self._clock_reported:
            self._clock_reported = True
            log.error(
                "clock.not_set", now=self.app.now().isoformat(), advice="the daemon waits until it is set"
            )
        self.app.stopping.wait(1.0)

    def _watch(self, schedule: Schedule, last: float) -> None:
        """Raise KbsyncError if no job came for much longer than it should: the service manager then restarts us."""
        overdue = agenda.patience(self.app.settings, self._jobs)
        stalled = overdue is not None and time.monotonic() - last > overdue.total_seconds()
        if not schedule.running or stalled:
            raise KbsyncError("the scheduler has stalled", "the service manager restarts the daemon")

    def _paused(self) -> bool:
        with self.app.state.read() as tx:
            return tx.paused() is not None

    def _perform(self, name: str, leadership: Leadership, desk: Desk) -> None:
        """Run one job; an expected error is logged, and the job runs again at its next time."""
        started = time.monotonic()
        notify(f"STATUS={name} since {self.app.now():%H:%M} UTC")
        try:
            with desk.interruptible():
                self._jobs[name](leadership)
        except Interrupted as error:
            log.info("job.interrupted", job=name, reason=str(error))
            self._enqueue(name)
        except Stopping:
            log.info("job.stopped", job=name)
        except StaleLeader:
            raise  # another daemon leads: to go on would be to work against it
        except (KbsyncError, ConnectorError, EditingError, StateError, OSError) as error:
            log.error("job.failed", job=name, reason=str(error), advice=getattr(error, "advice", None))
        else:
            log.info("job.done", job=name, seconds=round(time.monotonic() - started, 2))
        notify("STATUS=waiting")

    def _sync(self, leadership: Leadership, only: frozenset[str] | None = None) -> None:
        """A cycle that reads the source that is due, or those without times of their own."""
        reading = Reading(only=only or agenda.shared_sources(self.app.settings))
        report = cycle(self.app, leadership, trigger="schedule", asked=False, reading=reading)
        for run in report.runs:
            log.info("run.ended", run=run.id, state=run.state, reason=run.reason or None)
        if report.nothing:
            log.info("run.none", reason=report.nothing)

    def _reconcile(self, leadership: Leadership) -> None:
        reports = reconcile(self.app, leadership)
        if any(report.unfinished for report in reports.values()):
            self._enqueue("reconcile")  # the rest comes after what else waits
        leadership.renew()

    def _audit(self, leadership: Leadership) -> None:
        reconcile(self.app, leadership, sample=self.app.settings.schedule.audit_slots)
        leadership.renew()

    def _deploy(self, leadership: Leadership) -> None:
        for run in notify_servers(self.app, leadership):
            log.info("run.ended", run=run.id, state=run.state, reason=run.reason or None)

    def _verify(self, leadership: Leadership) -> None:
        integrity.prove(self.app, leadership)

    def _scrub(self, leadership: Leadership) -> None:
        if scrub(self.app, leadership):
            self._enqueue("sync")  # which builds again what is lost

    def _anchor(self, leadership: Leadership) -> None:
        integrity.anchor(self.app, leadership)
