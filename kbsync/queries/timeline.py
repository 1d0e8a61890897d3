"""Everything that happened to one fact, in one line of time: statements, verdicts, decisions, runs and answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from editing.errors import SpecError
from editing.spec import BuildReport
from kbsync.application import Application
from kbsync.queries.archived import archived_note
from kbsync.queries.reports import Reports
from kbsync.queries.stated import StatedSlot, stated
from state.event_queries import EventFilter
from state.records import Built, Event, Fact

MOST = 200
"""Entries that are listed, the newest ones."""
MOST_REPORTS = 4
"""Runs of which the report is read for the answers: the newest with the fact."""
LARGEST_REPORT = 32 << 20
"""Reports that are larger, in bytes, are not read for a page."""


@dataclass(frozen=True, slots=True)
class AnswersToFact:
    """What the models answered to the fact's prompt in one run; None for what was not asked."""

    base: str | None
    live: str | None
    candidate: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened."""

    at: datetime
    kind: Literal["statement", "verdict", "decision", "run", "event"]
    what: str
    detail: str
    actor: str
    run: int | None
    source: str
    revision: int | None
    stated: StatedSlot | None = None
    """Of a statement: what the source stated."""
    answers: AnswersToFact | None = None
    """Of a run or a verdict: what the models answered."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Newest first."""

    entries: tuple[Entry, ...]
    count: int
    """All there are; those beyond `MOST` are not listed."""
    archived: str
    """Where the fact's events are, if they are not in the ledger any more."""


def timeline(app: Application, id: int, reports: Reports) -> Timeline:
    """The timeline of a fact; raises state.errors.NotFound."""
    with app.state.read() as tx:
        found = tx.provenance(id)
        fact, pair = found.fact, (found.fact.subject, found.fact.relation)
        said = stated(tx, tx.histories([pair]).get(pair, ())[-MOST:])
        events = tx.recent_events(EventFilter(fact=id), MOST)
        note = archived_note(tx, events)
        started = {
            (one.run, one.round): one.started
            for run in {built.run.id for built in found.builds}
            for one in tx.rounds(run)
        }
    entries = [
        *(_statement(one, fact) for one in said),
        *(_event(event, json.loads(event.body)) for event in events),
        *_runs(app, fact, found.builds, started, reports),
    ]
    # Of what has the same instant, a statement comes before the verdict on it, and that before the run.
    order = ("statement", "verdict", "decision", "event", "run")
    entries.sort(key=lambda one: (one.at, order.index(one.kind), one.run or 0), reverse=True)
    return Timeline(tuple(entries[:MOST]), len(entries), note)


def _statement(one: StatedSlot, fact: Fact) -> Entry:
    seen = one.observation
    values = ", ".join(dict.fromkeys(value.label for value in one.values)) or "nothing any more"
    own = one.of(fact.object)
    what = f"{seen.source} stated {values}"
    detail = "" if own or not one.values else "not the value of this fact"
    return Entry(seen.observed, "statement", what, detail, seen.source, None, seen.source, seen.revision, one)


def _event(event: Event, body: Mapping[str, Any]) -> Entry:
    name = event.kind.partition(".")[2].replace("_", " ")
    kind: Literal["verdict", "decision", "event"] = "event"
    what = name
    if "to" in body:
        kind, what = "verdict", f"{body.get('from') or 'new'} → {body['to']}"
    elif name in ("approved", "rejected", "reopened", "barred"):
        kind = "decision"
    revision = body.get("revision")
    answers = (body.get("evidence") or {}).get("answers")
    return Entry(
        event.at,
        kind,
        what,
        str(body.get("reason") or ""),
        event.actor,
        event.run,
        str(body.get("source") or ""),
        revision if isinstance(revision, int) else None,
        answers=AnswersToFact(answers.get("base"), answers.get("live"), answers.get("candidate"))
        if answers
        else None,
    )


def _runs(
    app: Application,
    fact: Fact,
    builds: tuple[Built, ...],
    started: Mapping[tuple[int, int], datetime],
    reports: Reports,
) -> Iterator[Entry]:
    """An entry per run that had the fact; of several rounds, the last one with it."""
    last = {built.run.id: built for built in builds}
    read = set(sorted(last)[-MOST_REPORTS:])
    for id, built in sorted(last.items()):
        answers = _answers(app, built, fact.id, reports) if id in read else None
        if answers is None and built.base_answer is not None:
            answers = AnswersToFact(built.base_answer, None, None)
        ends = {
            "last": f"the candidate had it; the run is {built.run.state.replace('_', ' ')}",
            "left_out": f"left out after round {built.round}, so that the others could pass",
            "kept": "the run went on with it",
        }[built.outcome]
        detail = ends + ("; the base knew it, so it needed no edit" if built.known else "")
        at = started.get((id, built.round), built.run.created)
        yield Entry(at, "run", f"built in run {id}", detail, built.run.trigger, id, "", None, answers=answers)


def _answers(app: Application, built: Built, fact: int, reports: Reports) -> AnswersToFact | None:
    """What the run's models answered, if its report is kept and of a size that can be read at once."""
    path = app.home.round(built.run.id, built.round).report
    try:
        if path.stat().st_size > LARGEST_REPORT:
            return None
        return reports.part(path, _to_prompts).get(str(fact))
    except (OSError, SpecError):
        return None  # cleared, or of another version: the entry is shown without its answers


def _to_prompts(report: BuildReport) -> dict[str, AnswersToFact]:
    """What was answered to the prompts of facts, by the facts' ids."""
    return {
        one.id: AnswersToFact(one.base_answer, one.live_answer, one.answer or None) for one in report.facts
    }
