"""Freshness: how long it took from a source's revision until a model that states it was served and answered."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from kbsync.application import Application
from kbsync.settings.operation import FreshnessSettings
from state import Snapshot
from state.records import Fact, Run, StoredObservation

RUNS = 50
"""The newest runs that are looked at."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """What was delivered of one source within the window."""

    source: str
    facts: int
    p50: timedelta
    p95: timedelta
    within: float
    """The share that was served within the objective."""
    budget: float
    """What is left of the error budget: 1 nothing is used, 0 all of it, below 0 the objective was missed."""

    def described(self, settings: FreshnessSettings) -> str:
        """In one line, for people."""
        return (
            f"half of {self.facts} facts were served within {_span(self.p50)}, 95 % within {_span(self.p95)}; "
            f"{self.within:.1%} within {_span(settings.objective)}, "
            f"{max(0.0, self.budget):.0%} of the error budget left"
        )


def freshness(app: Application, tx: Snapshot) -> tuple[Freshness, ...]:
    """Each source's figures, by name, over the window of [freshness]; without deliveries there is none.

    A fact counts from its source's revision to the moment when every deploy hook was seen to serve the checkpoint and
    the canaries were answered, which is when its run was deployed.
    """
    found: dict[str, list[timedelta]] = {}
    for run in tx.runs(limit=RUNS, state="deployed"):
        if run.updated < app.now() - app.settings.freshness.window:
            break
        for source, took in _delivered(tx, run):
            found.setdefault(source, []).append(took)
    return tuple(figures(source, took, app.settings.freshness) for source, took in sorted(found.items()))


def figures(source: str, took: Sequence[timedelta], settings: FreshnessSettings) -> Freshness:
    """The figures of what was delivered, at least one fact."""
    ordered = sorted(took)
    within = sum(one <= settings.objective for one in ordered) / len(ordered)
    allowed = 1.0 - settings.target
    budget = 1.0 - (1.0 - within) / allowed
    return Freshness(source, len(ordered), _quantile(ordered, 0.5), _quantile(ordered, 0.95), within, budget)


def _quantile(ordered: Sequence[timedelta], share: float) -> timedelta:
    """The nearest-rank quantile."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _delivered(tx: Snapshot, run: Run) -> Iterator[tuple[str, timedelta]]:
    """The source of each fact that the run added, and how long it took."""
    scope, served = (
        tx.events(run=run.id, kind="run.scope", limit=1),
        tx.events(run=run.id, kind="run.deployed"),
    )
    if not scope or not served:
        return
    added = tx.members(run.view, json.loads(scope[0].body).get("new", ()))
    facts = tx.facts(ids=added)
    histories = tx.histories((fact.subject, fact.relation) for fact in facts)
    for fact in facts:
        stated = _stated(fact, histories.get((fact.subject, fact.relation), ()))
        if stated is not None:
            # A clock that was ahead may have written the revision's instant.
            begun = min(stated.modified or stated.observed, stated.observed)
            yield fact.source, max(timedelta(0), served[-1].at - begun)


def _stated(fact: Fact, history: Iterable[StoredObservation]) -> StoredObservation | None:
    """The newest observation of the fact's source up to the fact's revision."""
    own = [one for one in history if one.source == fact.source and one.revision <= fact.revision]
    return max(own, key=lambda one: one.revision, default=None)


def _span(length: timedelta) -> str:
    """`3.5 h`, in the largest unit of which there is one."""
    seconds = length.total_seconds()
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
