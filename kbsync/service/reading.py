"""Reading every source in turn: each has a deadline, and the trouble of one is its own.

A source that raises anything, or misses its deadline, is unavailable: an event says so, its cursor
stays, and it is asked again after a wait that doubles with every failure and survives restarts.  What
the *ledger* raises ends the cycle: no source is to blame for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from connectors.errors import ConnectorError, SourceThrottled
from kbsync.application import Application
from kbsync.errors import KbsyncError
from kbsync.executor import Progress, silent
from kbsync.intake.pull import BOOTSTRAP_ADVICE, IntakeReport
from kbsync.intake.source import Source
from kbsync.leadership import Leadership
from kbsync.visible import visible
from state.errors import StateError
from state.records import SourceHealth

log = structlog.get_logger()

ACTOR = "intake"
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=6)
"""How long a source that failed is left alone: doubled with every failure in a row."""
LONGEST_REFUSAL = timedelta(days=1)
"""The longest Retry-After that is obeyed; a server that asks for years is asked again."""
LONGEST_ERROR = 1_000
"""Characters of an error that are kept."""


def wait_after(failures: int, error: BaseException | None = None) -> timedelta:
    """How long a source is left alone after so many failures in a row, the last one being `error`."""
    wait = min(FIRST_WAIT * 2.0 ** min(failures - 1, 16), LONGEST_WAIT)
    if isinstance(error, SourceThrottled):
        return max(wait, min(timedelta(seconds=error.retry_after_s), LONGEST_REFUSAL))
    return wait


def rests_until(health: SourceHealth, now: datetime) -> datetime | None:
    """When a source that failed may be asked again; None: now.

    A failure that lies later than now was written by a clock that was wrong: it counts for nothing.
    """
    if health.retry is None or health.failed is None or health.failed > now or health.retry <= now:
        return None
    return health.retry


@dataclass
class Reader:
    """Gives sources their turns and keeps what became of each."""

    app: Application
    leadership: Leadership | None
    asked: bool
    """An operator waits: sources in trouble are asked too, unless they forbade it themselves."""
    reports: dict[str, IntakeReport] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)

    def turn(self, name: str, read: Callable[[Source], IntakeReport]) -> IntakeReport | None:
        """One turn of one source: `read` until it ends, fails, or its deadline is over; None: it failed."""
        source = self.app.sources[name]
        if reason := self._rests(name):
            self.unavailable[name] = reason
            return None
        try:
            with source.reading():
                report = read(source)
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
        """Why a source is left alone now; empty: it is not."""
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
    progress: Progress = silent,
) -> tuple[dict[str, IntakeReport], dict[str, str]]:
    """Read and admit every source; (reports by source, why sources were not read).

    Each source has one turn, and the next pull goes on from its cursor; in a `bootstrap` the turns go round
    until all sources are read.  Raises Stopping, which loses nothing.
    """
    intake = app.intake(leadership)
    reader = Reader(app, leadership, asked)
    followed = intake.follow_catalogue()
    waiting = list(app.sources)
    while waiting:
        unfinished: list[str] = []
        for name in waiting:
            progress("pull", len(app.sources) - len(waiting) + len(unfinished), len(app.sources), None)
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
    progress("pull", len(app.sources), len(app.sources), None)
    return reader.reports, reader.unavailable


def reconcile(
    app: Application, leadership: Leadership | None = None, *, sample: int | None = None
) -> dict[str, IntakeReport]:
    """Re-read watched slots, all or a random sample: finds what polling missed, and removals.

    Each source has one turn; where its slots are more than it can answer in that time, its report is
    `unfinished` and the next call goes on from there.  A source that cannot be read now is read again at
    the next time.
    """
    intake = app.intake(leadership)
    reader = Reader(app, leadership, asked=False)
    seed = int(app.now().timestamp())
    for name in app.sources:
        if sample is not None:
            report = reader.turn(name, lambda source: intake.audit(source, sample, seed))
        else:
            report = reader.turn(name, lambda source: intake.reconcile(source, pause=source.must_pause))
        if report is not None and report.new:
            log.warning("reconcile.found", source=name, slots=report.new, sample=sample)
    return reader.reports
