"""One run in full: its facts, its gates against their history, its timings, and answers before and after."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from editing.consequence import Consequence
from kbsync.application import Application
from kbsync.gates import Gate, GateStanding, is_judged, standing
from kbsync.gates.judge_record import JudgeRecord, read_record
from kbsync.queries.archived import archived_note
from kbsync.queries.fact_way import FactWay, RunStep, steps, ways
from kbsync.queries.measured import Unjudged, unjudged
from kbsync.queries.reports import Reports
from kbsync.queries.run_answers import Answered, reported, scope_of
from state import Snapshot
from state.paging import Page
from state.records import Attempt, Checkpoint, Deployment, Event, GateResult, Request, Round, Run

HISTORY = 24
"""Runs that a gate's plot shows."""
MOST_EVENTS = 400
ANSWERS = 24
"""Facts of which the answers are listed; the others have pages of their own."""


@dataclass(frozen=True, slots=True)
class GateLine:
    """One gate's verdict in one round, with its values in the runs before."""

    result: GateResult
    standing: GateStanding
    explains: str
    """What it measures; empty if this version does not have the gate any more."""
    condition: str
    """`≥ 0.95`: the declared one today."""
    direction: str
    history: tuple[tuple[int, float], ...]
    """(run, value) of the last rounds of earlier runs and of this one, oldest first."""
    judged: tuple[tuple[int, float, bool], ...]
    """Of the same rounds (run, what was compared with the threshold, passed): the value, or its bound if it has one."""


@dataclass(frozen=True, slots=True)
class RoundProgress:
    """How far the worker is in the current round."""

    phase: str
    done: int
    total: int
    left_s: float | None


@dataclass(frozen=True, slots=True)
class RunStory:
    """Everything about one run."""

    run: Run
    is_open: bool
    checkpoint: Checkpoint | None
    rounds: tuple[Round, ...]
    attempts: tuple[Attempt, ...]
    gates: tuple[GateLine, ...]
    """Of all rounds, the last round first."""
    unjudged: tuple[Unjudged, ...]
    """What the last round measured for gates that are off."""
    derived: tuple[Consequence, ...]
    """What the last round edited that follows from facts."""
    judge: JudgeRecord | None
    """What a judge model was asked about the last round's candidate."""
    changes: tuple[int, int]
    """How many facts it is to add, and to remove."""
    ways: tuple[FactWay, ...]
    """The first of them, with the way of each."""
    size: int
    """Facts that the candidate is built from."""
    waiting: int
    """Wanted facts that did not fit."""
    answers: tuple[Answered, ...]
    """Facts that this run adds, and facts of the view that are answered otherwise than before."""
    unlisted: int
    """How many more of such facts there are."""
    no_answers: str
    """Why there are none; empty if there are."""
    seconds: Mapping[str, float]
    """Phase of the build → seconds."""
    steps: tuple[RunStep, ...]
    """The states that the run was in, with their times, and those before it."""
    progress: RoundProgress | None
    deployments: tuple[Deployment, ...]
    events: tuple[Event, ...]
    archived: str
    """Where they are, if they are not in the ledger any more."""


def run_story(app: Application, id: int, reports: Reports) -> RunStory:
    """One run; raises state.errors.NotFound."""
    with app.state.read() as tx:
        run = tx.run(id)
        events = tuple(tx.events(run=id, limit=MOST_EVENTS))
        scope = scope_of(tx, id)
        new, removed = (tx.facts(ids=scope.get(name, ())) for name in ("new", "removed"))
        report = reported(app, reports, run, frozenset(fact.id for fact in new))
        checkpoint = None if run.checkpoint is None else tx.checkpoint(run.checkpoint)
        answers = report.page(tx, 0, ANSWERS)
        return RunStory(
            run=run,
            is_open=run in tx.open_runs(),
            checkpoint=checkpoint,
            rounds=tx.rounds(id),
            attempts=tx.attempts(id),
            gates=_gates(app, tx, run),
            changes=(len(new), len(removed)),
            ways=ways(tx, run, events, new, removed),
            size=tx.view(run.view).size,
            waiting=int(scope.get("waiting", 0)),
            answers=answers.rows,
            unlisted=len(report.facts[ANSWERS:]),
            no_answers=report.why,
            seconds=report.seconds,
            unjudged=unjudged(app.gates, report.measures),
            derived=report.derived,
            judge=read_record(app.home.round(run.id, run.round).judge),
            steps=steps(run, events),
            progress=progress_of(app, run),
            deployments=_deployments(tx, checkpoint),
            archived=archived_note(tx, [one for one in events if one.kind == "run.planned"]),
            events=events,
        )


def answers_page(app: Application, id: int, reports: Reports, after: int, limit: int) -> Page[Answered]:
    """The run's answers from behind the one at place `after` on; raises state.errors.NotFound."""
    with app.state.read() as tx:
        new = frozenset(scope_of(tx, id).get("new", ()))
        return reported(app, reports, tx.run(id), new).page(tx, after, limit)


def progress_of(app: Application, run: Run) -> RoundProgress | None:
    """How far the worker is; None unless it is at work and has said so."""
    if run.state != "building":
        return None
    try:
        value = json.loads(app.home.round(run.id, run.round).progress.read_bytes())
        return RoundProgress(str(value["phase"]), int(value["done"]), int(value["total"]), value["left_s"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not written yet


def requests_about(app: Application, id: int) -> tuple[Request, ...]:
    """Open requests to approve this run."""
    with app.state.read() as tx:
        return tuple(
            one
            for one in tx.open_requests()
            if one.action == "approve-run" and json.loads(one.arguments).get("run") == id
        )


def _gates(app: Application, tx: Snapshot, run: Run) -> tuple[GateLine, ...]:
    declared = {gate.name: gate for gate in app.gates}
    earlier = [one.id for one in reversed(tx.runs(HISTORY - 1, before=run.id))]
    past: dict[str, list[GateResult]] = {}
    for one in tx.last_gate_results(earlier):
        if is_judged(one):
            past.setdefault(one.name, []).append(one)
    order = list(declared)
    results = sorted(
        tx.gate_results(run.id),
        key=lambda one: (-one.round, order.index(one.name) if one.name in declared else len(order)),
    )
    return tuple(
        GateLine(
            result,
            standing(result),
            *_declared(declared.get(result.name)),
            *_history([*past.get(result.name, ()), result]),
        )
        for result in results
    )


def _history(
    results: Sequence[GateResult],
) -> tuple[tuple[tuple[int, float], ...], tuple[tuple[int, float, bool], ...]]:
    """`GateLine.history` and `GateLine.judged`."""
    values = [(one, one.value) for one in results if one.value is not None]
    return (
        tuple((one.run, value) for one, value in values),
        tuple((one.run, value if one.bound is None else one.bound, one.passed) for one, value in values),
    )


def _declared(gate: Gate | None) -> tuple[str, str, str]:
    return ("", "", "") if gate is None else (gate.explains, gate.condition, gate.direction)


def _deployments(tx: Snapshot, checkpoint: Checkpoint | None) -> tuple[Deployment, ...]:
    if checkpoint is None:
        return ()
    return tx.deployments(checkpoint=checkpoint.id)
