"""One run in full: its facts, its gates against their history, its timings, and answers before and after."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from editing.errors import SpecError
from editing.spec import BuildReport, FactReport, ProbeReport
from kbsync.application import Application
from kbsync.gates import Gate, GateStanding, standing
from kbsync.queries.fact_way import FactWay, RunStep, steps, ways
from state import Snapshot
from state.records import Attempt, Checkpoint, Deployment, Event, Fact, GateResult, Request, Round, Run

HISTORY = 24
"""Runs that a gate's plot shows."""
MOST_EVENTS = 400
MOST_ANSWERS = 200
"""Facts of which the answers are listed."""
SECONDS = "seconds_"


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


def run_story(app: Application, id: int) -> RunStory:
    """One run; raises state.errors.NotFound."""
    with app.state.read() as tx:
        run = tx.run(id)
        events = tuple(tx.events(run=id, limit=MOST_EVENTS))
        scope: dict[str, Any] = next(
            (json.loads(event.body) for event in events if event.kind == "run.scope"), {}
        )
        new, removed = (tx.facts(ids=scope.get(name, ())) for name in ("new", "removed"))
        report, why = _report(app, run)
        checkpoint = None if run.checkpoint is None else tx.checkpoint(run.checkpoint)
        answers = _answers(tx, report, {fact.id for fact in new}) if report else ()
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
            answers=answers[:MOST_ANSWERS],
            unlisted=len(answers[MOST_ANSWERS:]),
            no_answers=why,
            seconds=_seconds(report),
            steps=steps(run, events),
            progress=progress_of(app, run),
            deployments=_deployments(tx, checkpoint),
            events=events,
        )


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


def _report(app: Application, run: Run) -> tuple[BuildReport | None, str]:
    """The report of the last round, or why there is none."""
    directory = app.home.round(run.id, run.round)
    if not directory.report.is_file():
        if run.state in ("planned", "building"):
            return None, "the candidate is not built yet"
        return None, "the run's directory was cleared, or it ended before anything was asked"
    try:
        return BuildReport.read(directory.report), ""
    except SpecError as error:
        return None, str(error)


def _gates(app: Application, tx: Snapshot, run: Run) -> tuple[GateLine, ...]:
    declared = {gate.name: gate for gate in app.gates}
    earlier = [one.id for one in reversed(tx.runs(HISTORY - 1, before=run.id))]
    past: dict[str, list[GateResult]] = {}
    for one in tx.last_gate_results(earlier):
        if standing(one) != "not judged":
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


def _answers(tx: Snapshot, report: BuildReport, new: set[int]) -> tuple[Answered, ...]:
    """New facts first, then those of which the answer changed."""
    told = {int(one.id): one for one in report.facts if _is_of_interest(one, new)}
    found = [_answered(fact, told[fact.id], fact.id in new) for fact in tx.facts(ids=told)]
    return tuple(sorted(found, key=lambda one: (not one.new, one.fact.id)))


def _is_of_interest(report: FactReport, new: set[int]) -> bool:
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


def _seconds(report: BuildReport | None) -> dict[str, float]:
    entries = {} if report is None else report.cost.entries()
    return {
        name.removeprefix(SECONDS): value
        for name, value in entries.items()
        if name.startswith(SECONDS) and value
    }


def _deployments(tx: Snapshot, checkpoint: Checkpoint | None) -> tuple[Deployment, ...]:
    if checkpoint is None:
        return ()
    return tx.deployments(checkpoint=checkpoint.id)
