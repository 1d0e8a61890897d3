"""Reading every source in turn, each with a deadline, so that one failing source does not affect the others.

A source that raises an error, or misses its deadline, is unavailable: this is recorded as an event, its cursor
stays, and it is read again after a delay that doubles with every failure and survives restarts.  An error of the
*ledger* ends the cycle, since no source caused it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from connectors.errors import ConnectorError, SourceThrottled
from editing.progress import TimedProgress, silent
from kbsync import telemetry
from kbsync.application import Application
from kbsync.errors import KbsyncError
from kbsync.intake.report import BOOTSTRAP_ADVICE, IntakeReport
from kbsync.intake.source import Source
from kbsync.leadership import Leadership
from kbsync.visible import visible
from state.errors import StateError
from state.records import SourceHealth

log = structlog.get_logger()

ACTOR = "intake"
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=6)
"""Delay after a source's first failure, doubled with every further one in a row, and the longest delay."""
LONGEST_REFUSAL = timedelta(days=1)
"""The longest Retry-After that is obeyed; a server that asks for years is read again after this."""
LONGEST_ERROR = 1_000
"""Maximum characters of an error that are stored."""


def wait_after(failures: int, error: BaseException | None = None) -> timedelta:
    """The delay after this many failures in a row, the last one being `error`."""
    wait = min(FIRST_WAIT * 2.0 ** min(failures - 1, 16), LONGEST_WAIT)
    if isinstance(error, SourceThrottled):
        return max(wait, min(timedelta(seconds=error.retry_after_s), LONGEST_REFUSAL))
    return wait


def rests_until(health: SourceHealth, now: datetime) -> datetime | None:
    """When a source that failed may be read again; None: now.

    A failure in the future was written by a clock that was wrong, and is ignored.
    """
    if health.retry is None or health.failed is None or health.failed > now or health.retry <= now:
        return None
    return health.retry


@dataclass
class SourceTurns:
    """Gives each source its turns and records the results."""

    app: Application
    leadership: Leadership | None
    asked: bool
    """An operator is waiting: sources in delay are read too, unless their server asked for the delay."""
    reports: dict[str, IntakeReport] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)

    def turn(self, name: str, read: Callable[[Source], IntakeReport]) -> IntakeReport | None:
        """One turn of one source: `read` until it ends, fails, or reaches its deadline; None: it failed."""
        source = self.app.sources[name]
        if reason := self._rests(name):
            self.unavailable[name] = reason
            return None
        try:
            with telemetry.span("read source", source=name), source.reading():
                report = read(source)
                telemetry.note(observations=report.observations, unfinished=report.unfinished)
        except (StateError, KbsyncError):
            raise  # the ledger's or the leader's trouble
        except Exception as error:  # noqa: BLE001  whatever a connector raises, the others go on
            self.unavailable[name] = self._failed(name, error)
            return None
        self.reports.setdefault(name, IntakeReport()).merge(report)
        return report

    def succeeded(self, name: str) -> None:
        """The source was read to its end."""
        with self.app.write(self.leadership) as tx:
            tx.source_read(name, ACTOR)

    def _rests(self, name: str) -> str:
        """Why a source is not read now; empty if it is."""
        with self.app.state.read() as tx:
            health = tx.source_health([name])[name]
        until = rests_until(health, self.app.now())
        if until is None or (self.asked and health.kind != SourceThrottled.__name__):
            return ""
        return f"{health.error}; it is asked again after {until:%Y-%m-%d %H:%M} UTC"

    def _failed(self, name: str, error: Exception) -> str:
        declared = isinstance(error, ConnectorError)
        kind = type(error).__name__
        reason = visible(str(error) if declared else f"{kind}: {error}", LONGEST_ERROR)
        with self.app.write(self.leadership) as tx:
            failures = tx.source_health([name])[name].failures + 1
            retry = self.app.now() + wait_after(failures, error)
            tx.source_failed(name, kind, reason, retry, ACTOR)
        log.warning(
            "source.unavailable",
            source=name,
            reason=reason,
            kind=kind,
            failures=failures,
            retry=retry.isoformat(timespec="seconds"),
            exc_info=None if declared else error,
        )
        return reason


def pull(
    app: Application,
    leadership: Leadership | None = None,
    *,
    bootstrap: bool = False,
    asked: bool = True,
    progress: TimedProgress = silent,
    expect: Callable[[], None] = lambda: None,
    only: Collection[str] | None = None,
) -> tuple[dict[str, IntakeReport], dict[str, str]]:
    """Read and admit every source; (reports by source, why sources were not read).

    Each source has one turn, and the next pull continues from its cursor; in a `bootstrap`, turns are repeated
    until all sources are read.  `expect` is called once a fact is newly wanted, so that what builds it can get ready
    while the rest is read.  `only`: the sources to read; None: all.  Raises Stopping, which loses nothing.
    """
    intake = app.intake(leadership)
    intake.expect = expect
    reader = SourceTurns(app, leadership, asked)
    followed = intake.follow_catalogue()
    waiting = read = [name for name in app.sources if only is None or name in only]
    while waiting:
        unfinished: list[str] = []
        for name in waiting:
            progress("pull", len(read) - len(waiting) + len(unfinished), len(read), None)
            report = reader.turn(
                name, lambda source: intake.pull(source, bootstrap=bootstrap, pause=source.must_pause)
            )
            if report is not None and report.unfinished:
                unfinished.append(name)
            elif report is not None:
                reader.succeeded(name)
        waiting = unfinished if bootstrap else []
    reader.reports["due"] = intake.release_due()
    reader.reports["due"].merge(followed)
    if bootstrap:
        reader.reports["due"].merge(intake.bootstrap_waiting())
    for name, one in reader.reports.items():
        if one.stopped:
            log.warning("breaker.tripped", source=name, stopped=one.stopped, advice=BOOTSTRAP_ADVICE)
    if leadership is not None:
        reader.reports["due"].merge(intake.readmit(leadership.disturbed))
        leadership.disturbed.clear()
    progress("pull", len(read), len(read), None)
    return reader.reports, reader.unavailable


def reconcile(
    app: Application, leadership: Leadership | None = None, *, sample: int | None = None
) -> dict[str, IntakeReport]:
    """Re-read watched slots, all or a random sample: finds what polling missed, and removals.

    Each source has one turn; if it has more slots than it can answer in that time, its report is `unfinished` and
    the next call continues from there.  A source that cannot be read now is read again at the next scheduled
    time.
    """
    intake = app.intake(leadership)
    reader = SourceTurns(app, leadership, asked=False)
    seed = int(app.now().timestamp())
    for name in app.sources:
        if sample is not None:
            report = reader.turn(name, lambda source: intake.audit(source, sample, seed))
        else:
            report = reader.turn(name, lambda source: intake.reconcile(source, pause=source.must_pause))
        if report is not None and report.new:
            log.warning("reconcile.found", source=name, slots=report.new, sample=sample)
    return reader.reports
