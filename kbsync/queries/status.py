"""`kbsync status`: the state of kbsync as one value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kbsync.application import Application
from kbsync.console import Alarm
from kbsync.deployment.live import lost, withheld
from kbsync.deployment.served import Served, served
from kbsync.intake.report import BOOTSTRAP_ADVICE
from kbsync.queries.counts import Counts, count
from kbsync.queries.freshness import Freshness, freshness
from kbsync.queries.sources import SourceState, source_states
from kbsync.queries.unlisted import described
from kbsync.queries.upcoming import Agenda, agenda
from kbsync.recipe import REBUILD, differences
from kbsync.settings.base_model import calibration_doubt
from kbsync.settings.operation import described_periods
from state.records import Check, Checkpoint, Pause, Run


@dataclass(frozen=True, slots=True)
class Overview:
    home: str
    live: Checkpoint | None
    live_path: str | None
    served: tuple[Served, ...]
    """The version that the link and each deploy hook's server were last seen to serve."""
    facts: dict[str, int]
    pending: int
    """Wanted facts that live was not built with, and facts in live that are no longer wanted."""
    waiting: int
    """Facts that wait for a reviewer."""
    stopped: int
    """Waiting facts that the volume breaker stopped."""
    stale: int
    """Waiting facts that failed a gate under other settings than the current ones."""
    open_runs: tuple[Run, ...]
    last_run: Run | None
    cursors: dict[str, str | None]
    sources: tuple[SourceState, ...]
    """Configured sources, and removed ones whose statements still count."""
    paused: Pause | None
    audit_head: int
    checks: tuple[Check, ...]
    """The scheduled checks, each with its latest result."""
    lost: str
    """Why live has to be built again; empty if it is complete."""
    withheld: str
    """Why the link and the servers do not follow the ledger yet; empty if they do."""
    unlisted: dict[str, int]
    """Wanted facts of relations that are no longer in the catalogue."""
    differences: tuple[str, ...]
    """Differences between what live was built with and today's settings and files."""
    agenda: Agenda
    """When the next cycle begins, as far as the settings say, and the quiet hours."""
    freshness: tuple[tuple[Freshness, str], ...]
    """How long each source's facts took until they were served, and the same in words."""
    calibration: str
    """Where the settings of [edit] come from, or why they may not fit the base; empty without a base."""
    retention: str = "everything is kept"
    """What is kept how long (`[retention]`)."""

    def lines(self) -> Iterator[tuple[str, str]]:
        """The overview for people, as pairs of a name and a text."""
        yield "home", self.home
        if self.paused is not None:
            yield (
                "paused",
                f"since {self.paused.since:%Y-%m-%d %H:%M} by {self.paused.actor}: {self.paused.reason}",
            )
        for check in self.checks:
            if not check.ok:
                yield f"{check.name} failed", Alarm(f"since {check.since:%Y-%m-%d %H:%M}: {check.detail}")
        yield from self._what_is_live()
        yield from self._facts()
        for run in self.open_runs:
            yield f"run {run.id}", f"{run.state}, round {run.round}"
        if self.last_run is not None:
            yield "last run", f"{self.last_run.id}: {self.last_run.state} {self.last_run.reason}".rstrip()
        for source in self.sources:
            yield f"source {source.name}", source.how()
            for notice in source.notices():
                yield "", notice
        yield from self.agenda.lines()
        for one, words in self.freshness:
            yield f"freshness {one.source}", words if one.budget >= 0 else Alarm(words)
        proven = ", ".join(f"{check.name} {check.at:%Y-%m-%d %H:%M}" for check in self.checks if check.ok)
        yield "audit log", f"{self.audit_head} events"
        yield "proven", proven or "nothing yet: the daemon does so on schedule"

    def _what_is_live(self) -> Iterator[tuple[str, str]]:
        if self.lost:
            yield "live is lost", Alarm(f"{self.lost}; `kbsync sync` builds it again from the cache")
        if self.withheld:
            yield (
                "live is withheld",
                Alarm(f"{self.withheld}; `kbsync sync` reads the sources and builds live without it"),
            )
        if self.live is None:
            yield "live", "no checkpoint yet"
            return
        yield "live", f"checkpoint {self.live.id} of run {self.live.run}, view {self.live.view[:12]}"
        yield "path", self.live_path or ""
        for one in self.served:
            yield f"served by {one.hook}", str(one)

    def _facts(self) -> Iterator[tuple[str, str]]:
        """What is wanted, what is still to be built, and what waits for a person."""
        counts = ", ".join(f"{count} {status}" for status, count in sorted(self.facts.items()))
        yield "facts", counts or "none"
        yield "pending", f"{self.pending} changes between what is wanted and what is live"
        for difference in self.differences:
            yield "built before", difference
        if self.differences:
            yield "", f"`{REBUILD}` builds what is wanted again with today's settings"
        if self.calibration:
            yield "calibration", self.calibration
        yield "retention", self.retention
        if self.unlisted:
            yield "not listed", described(self.unlisted)
        if self.stopped:
            yield "breaker", f"the volume breaker stopped {self.stopped} facts: {BOOTSTRAP_ADVICE}"
        if self.waiting:
            yield "quarantine", f"{self.waiting} facts wait for a reviewer: `kbsync quarantine`"
        if self.stale:
            yield (
                "judged before",
                f"{self.stale} facts failed a gate under other settings than the current ones: "
                "`kbsync quarantine reopen --stale` has them judged again",
            )


def _calibration(app: Application) -> str:
    if problem := calibration_doubt(app.settings, app.imported_base(), app.home):
        return problem
    found = app.settings.calibration
    return found.described() if found.base is not None else ""


def overview(app: Application, counts: Counts | None = None) -> Overview:
    """Read the overview from the ledger and the link; no source or server is contacted, and no model is loaded.

    `counts`: what was counted before; without it, everything is counted now.
    """
    seen, missing_live = served(app), lost(app)
    counted = count(app) if counts is None else counts
    with app.state.read() as tx:
        live, last = tx.live(), tx.runs(limit=1)
        return Overview(
            home=str(app.home.root),
            live=live,
            live_path=str(app.home.live) if live else None,
            served=seen,
            facts=counted.facts,
            pending=counted.pending,
            waiting=counted.waiting,
            stopped=counted.stopped,
            stale=counted.stale,
            open_runs=tx.open_runs(),
            last_run=last[0] if last else None,
            cursors={name: tx.cursor(name) for name in app.settings.sources},
            sources=source_states(app, tx, counted.sources),
            paused=tx.paused(),
            audit_head=tx.head_number(),
            checks=tuple(tx.checks().values()),
            lost=missing_live,
            withheld=withheld(tx, app.home),
            unlisted=dict(counted.unlisted),
            agenda=agenda(app, tx.source_health()),
            freshness=tuple((one, one.described(app.settings.freshness)) for one in freshness(app, tx)),
            calibration=_calibration(app),
            retention=described_periods(app.settings.retention),
            differences=tuple(differences(app, live, counted.wordings)) if live else (),
        )
