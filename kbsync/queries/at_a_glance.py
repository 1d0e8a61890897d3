"""The overview of the review pages: what needs attention first, then what is live and how fresh everything is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from kbsync.application import Application
from kbsync.queries.counts import Counts
from kbsync.queries.sources import SourceState
from kbsync.queries.status import Overview, overview
from kbsync.settings.timing import described, next_time
from state.records import Fact, Request, Run

NEWEST = 6
OVERDUE = 3


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that a person should look at."""

    severity: Literal["wrong", "waits"]
    """`wrong`: something is broken or failed; `waits`: a decision is needed."""
    what: str
    detail: str
    where: str
    """The page to go to."""


@dataclass(frozen=True, slots=True)
class LiveChange:
    """A slot that the newest promotion changed."""

    fact: Fact
    removed: bool


@dataclass(frozen=True, slots=True)
class Glance:
    """The overview with what follows from it."""

    status: Overview
    concerns: tuple[Concern, ...]
    size: int
    """Facts that live was built from."""
    changes: tuple[LiveChange, ...]
    """What the newest promotion changed, at most `NEWEST` of it."""
    reviews: tuple[Run, ...]
    """Candidates that wait for approval."""
    runs: tuple[Run, ...]
    requests: tuple[Request, ...]
    """Requests of operators that are not answered yet."""
    overdue: frozenset[str] = frozenset()
    """Sources that were not read for `OVERDUE` times as long as the schedule says."""


def at_a_glance(app: Application, counts: Counts | None = None) -> Glance:
    """Read the overview, with what was counted before if that is given; nothing outside the home and the ledger is
    asked."""
    status, schedule, own = overview(app, counts), app.settings.schedule, app.settings.own_timings()
    with app.state.read() as tx:
        reviews = tx.runs(state="awaiting_review")
        runs = tx.runs(limit=NEWEST)
        requests = tx.open_requests()
        size, changes = 0, []
        if status.live is not None:
            size = tx.view(status.live.view).size
            events = tx.events(run=status.live.run, kind="run.scope", limit=1)
            scope = json.loads(events[0].body) if events else {}
            for name in ("new", "removed"):
                ids = scope.get(name, ())[:NEWEST]
                changes += [LiveChange(fact, name == "removed") for fact in tx.facts(ids=ids)]
    timing = {one.name: own.get(one.name, schedule.sync) for one in status.sources}
    overdue = [
        one for one in status.sources if _is_overdue(one, timing[one.name], schedule.timezone, app.now())
    ]
    return Glance(
        status,
        (
            *_concerns(status, reviews),
            *(_overdue(one, timing[one.name]) for one in overdue if not one.failures),
        ),
        size,
        tuple(changes[:NEWEST]),
        reviews,
        runs,
        requests,
        frozenset(one.name for one in overdue),
    )


def _is_overdue(source: SourceState, timing: timedelta | str, zone: str, now: datetime) -> bool:
    """Whether its schedule would have had it read `OVERDUE` times since it was."""
    if not source.kind or source.last_success is None:
        return False
    at = source.last_success
    for _ in range(OVERDUE):
        at = next_time(timing, zone, at)
    return at < now


def _overdue(source: SourceState, timing: timedelta | str) -> Concern:
    return Concern(
        "wrong",
        f"{source.name} is out of date",
        f"it was last read {source.last_success:%Y-%m-%d %H:%M} UTC and is to be read {described(timing)}: "
        "is `kbsync run` running?",
        f"/facts?source={source.name}",
    )


def _concerns(status: Overview, reviews: tuple[Run, ...]) -> Iterator[Concern]:
    for check in status.checks:
        if not check.ok:
            yield Concern("wrong", f"The check of {check.name} failed", check.detail, "/audit")
    if status.lost:
        yield Concern("wrong", "Live has to be built again", status.lost, "/checkpoints")
    if status.withheld:
        yield Concern("wrong", "Live is withheld from its servers", status.withheld, "/checkpoints")
    for one in status.served:
        if status.live is not None and not one.matches:
            yield Concern("wrong", f"{one.hook} does not serve what is live", str(one), "/checkpoints")
    for source in status.sources:
        yield from _source(source)
    for fresh, words in status.freshness:
        if fresh.budget < 0:
            yield Concern("wrong", f"Facts of {fresh.source} are served too late", words, "/runs")
    last = status.last_run
    if last is not None and last.state in ("failed", "rejected"):
        yield Concern("wrong", f"The last run was {last.state}", last.reason, f"/runs/{last.id}")
    if status.stopped:
        yield Concern(
            "wrong",
            f"The volume breaker stopped {status.stopped} facts",
            "more changed in one cycle than [policy] max_accepted allows",
            "/quarantine?code=volume",
        )
    if status.paused is not None:
        yield Concern(
            "waits", f"Paused by {status.paused.actor}", status.paused.reason, "/audit?kind=daemon.*"
        )
    for run in reviews:
        yield Concern("waits", f"Run {run.id} waits for approval", run.trigger, f"/runs/{run.id}")
    if status.waiting - status.stopped > 0:
        waiting = status.waiting - status.stopped
        facts = "fact waits" if waiting == 1 else "facts wait"
        yield Concern("waits", f"{waiting} {facts} for a reviewer", "", "/quarantine")


def _source(source: SourceState) -> Iterator[Concern]:
    if source.failures:
        yield Concern(
            "wrong", f"{source.name} cannot be read", source.last_error, "/audit?kind=source.unavailable"
        )
    elif source.rejected and source.kind:
        yield Concern("wrong", f"{source.name}: {source.rejected} rows rejected", source.reject, "/")
