"""What a run's models answered before and after: facts that it adds, and facts that are answered otherwise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from editing.consequence import Consequence
from editing.errors import SpecError
from editing.spec import BuildReport, FactReport, Measure, ProbeReport
from kbsync.application import Application
from kbsync.queries.reports import Reports
from state import Snapshot
from state.paging import Page
from state.records import Fact, Run

SECONDS = "seconds_"


@dataclass(frozen=True, slots=True)
class Answered:
    """What was answered to one fact's prompt, before and after."""

    fact: Fact
    base: str
    live: str | None
    candidate: str
    stated: bool | None
    """Whether the candidate states the fact; None: it was not asked."""
    known: bool
    new: bool
    """Whether this run adds it."""
    outcomes: Mapping[str, tuple[bool, ...]]
    """Measure → for each of its questions whether the answer was as expected."""
    probes: tuple[ProbeReport, ...]


@dataclass(frozen=True, slots=True)
class Reported:
    """What the pages show of the report of a run's last round."""

    facts: tuple[FactReport, ...] = ()
    """New facts first, then those of which the answer changed."""
    new: frozenset[int] = frozenset()
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Phase of the build → seconds."""
    measures: tuple[Measure, ...] = ()
    derived: tuple[Consequence, ...] = ()
    """What was edited that follows from facts."""
    why: str = ""
    """Why there is nothing; empty if there is a report."""

    def page(self, tx: Snapshot, after: int, limit: int) -> Page[Answered]:
        """Answers from behind the one at place `after` on."""
        chosen = self.facts[after : after + limit]
        facts = {fact.id: fact for fact in tx.facts(ids=[int(one.id) for one in chosen])}
        rows = tuple(
            _answered(fact, one, fact.id in self.new)
            for one in chosen
            if (fact := facts.get(int(one.id))) is not None
        )
        return Page(rows, after + limit if len(self.facts) > after + limit else None)


def scope_of(tx: Snapshot, run: int) -> Mapping[str, Any]:
    """What the run was to add and to remove (`new`, `removed`), and how much did not fit (`waiting`)."""
    events = tx.events(run=run, kind="run.scope", limit=1)
    found: Mapping[str, Any] = json.loads(events[0].body) if events else {}
    return found


def reported(app: Application, reports: Reports, run: Run, new: frozenset[int]) -> Reported:
    """The report of the run's last round, of which `new` are the facts that the run adds."""
    path = app.home.round(run.id, run.round).report
    try:
        return reports.part(path, partial(_chosen, new=new), "chosen", new)
    except SpecError as error:
        return Reported(why=str(error))
    except OSError:
        if run.state in ("planned", "building"):
            return Reported(why="the candidate is not built yet")
        return Reported(why="the run's directory was cleared, or it ended before anything was asked")


def _chosen(report: BuildReport, new: frozenset[int]) -> Reported:
    facts = sorted(
        (one for one in report.facts if _is_of_interest(one, new)),
        key=lambda one: (int(one.id) not in new, int(one.id)),
    )
    entries = report.cost.entries()
    seconds = {
        name.removeprefix(SECONDS): value
        for name, value in entries.items()
        if name.startswith(SECONDS) and value
    }
    derived = tuple(one for fact in report.facts for one in fact.derived)
    return Reported(tuple(facts), new, seconds, report.measures, derived)


def _is_of_interest(report: FactReport, new: frozenset[int]) -> bool:
    if int(report.id) in new:
        return True
    return report.efficacy is False or report.live_answer not in (None, report.answer)


def _answered(fact: Fact, report: FactReport, new: bool) -> Answered:
    return Answered(
        fact,
        report.base_answer,
        report.live_answer,
        report.answer,
        report.efficacy,
        report.known,
        new,
        report.outcomes,
        report.probes,
    )
