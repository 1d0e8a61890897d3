"""Verdicts that can be checked: what the log keeps of each, and the same judgement made again.

A gate's event has everything that its verdict was made of: the counts, the gate as it was declared, and the digests
of the report and of the settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editing.durable import sha256_of
from editing.spec import BuildReport, Measure
from kbsync.application import Application
from kbsync.errors import NoInput, UsageError
from kbsync.gates import DEFAULT_GATES, RULE, Gate, GateVerdict, judge_all
from kbsync.gates.judge_record import read_record
from kbsync.gates.votes import with_votes
from kbsync.home import RunDirectory
from kbsync.runs.gate_commands import CommandResults
from kbsync.settings.in_force import verdicts_under
from state.archives.events import all_events
from state.event_queries import EventFilter
from state.records import Event

COMPARED = {gate.name: gate.compared for gate in DEFAULT_GATES}
"""By gate, what it compares in place of the value."""
_COMPARED = ("value", "bound", "threshold", "n", "passed")
_DECLARED = ("name", "threshold", "direction", "confidence", "margin", "enabled", "required")


def basis_of(app: Application, directory: RunDirectory) -> dict[str, str]:
    """Digests of what a round's verdicts rest on: the files with its measures, and the settings that decide."""
    return {
        **{name: sha256_of(file) for name, file in _files(directory).items() if file.is_file()},
        "settings": verdicts_under(app.settings, app.gates, app.asked_of_all),
    }


def _files(directory: RunDirectory) -> dict[str, Path]:
    """The files with measures, by the names that their digests have in the event."""
    return {"report": directory.report, "gate_commands": directory.gate_commands, "judge": directory.judge}


def declarations(gates: Iterable[Gate], measures: Iterable[Measure]) -> dict[str, dict[str, Any]]:
    """By gate: how it was declared, the rule it was judged by, and of its measure the hits `k` and live's figure."""
    by_name = {measure.name: measure for measure in measures}
    found = {}
    for gate in gates:
        measure = by_name.get(gate.name)
        counts = {} if measure is None else {"k": measure.k, "live": measure.live}
        found[gate.name] = {**gate.settings(), "rule": RULE, **counts}
    return found


@dataclass(frozen=True, slots=True)
class Rejudged:
    """One round's verdicts, made again."""

    run: int
    round: int
    event: int
    """The number of the event that has the verdicts."""
    report: str
    """SHA-256 of the report file."""
    gates: int
    differences: tuple[str, ...]
    """Where the log and the new verdicts differ; empty: they are the same."""


MOST_ROUNDS = 1_000
"""Rounds of a run that are looked for in archived events."""


def rejudge(app: Application, run: int) -> list[Rejudged]:
    """Judge every round of a run again from its stored report, with the gates as the log declares them.

    Raises UsageError if the run was never judged, or by a version that did not record enough, NoInput if a report is
    gone.
    """
    with app.state.read() as tx:
        chosen = EventFilter(run=run, kind="run.gates")
        events = tx.events(run=run, kind="run.gates") or all_events(tx, chosen, MOST_ROUNDS)[::-1]
    if not events:
        raise UsageError(f"run {run} was not judged", "see `kbsync runs`")
    newest = {body["round"]: (event, body) for event in events if "round" in (body := json.loads(event.body))}
    if not newest:
        raise UsageError(
            f"run {run} was judged by a version that did not record what its verdicts rest on",
            "judge it again with `kbsync rebuild`",
        )
    return [_rejudged(app, run, number, event, body) for number, (event, body) in sorted(newest.items())]


def _rejudged(app: Application, run: int, number: int, event: Event, body: Mapping[str, Any]) -> Rejudged:
    files = _files(app.home.round(run, number))
    if not files["report"].is_file():
        raise NoInput(
            f"the report of run {run}, round {number} is gone: {files['report']}", "use a bundle of evidence"
        )
    digests = {name: sha256_of(file) if file.is_file() else "" for name, file in files.items()}
    found = [
        f"the SHA-256 of {files[name].name} is {digest or 'gone'}; the log says {body.get(name, '')}"
        for name, digest in digests.items()
        if digest != body.get(name, "")
    ]
    logged = {gate["name"]: gate for gate in body["gates"]}
    rule = max((int(gate.get("rule", 1)) for gate in logged.values()), default=RULE)
    if rule > RULE:
        raise UsageError(
            f"run {run} was judged by rule {rule}, which a newer version of kbsync has",
            f"judge it again with that version; this one has rules 1 to {RULE}",
        )
    gates = [_gate(one) for one in logged.values()]
    verdicts = judge_all(gates, _measures(files, gates), rule=rule)
    found += [f"{v.name}: {line}" for v in verdicts for line in _differences(v, logged[v.name])]
    return Rejudged(run, number, event.seq, digests["report"], len(logged), tuple(found))


def _measures(files: Mapping[str, Path], gates: Sequence[Gate]) -> tuple[Measure, ...]:
    """What the worker and the gate commands measured, with the stored votes of a judge model that count."""
    report = BuildReport.read(files["report"])
    if record := read_record(files["judge"]):
        report = with_votes(report, gates, record.votes(), record.share).report
    measures = report.measures
    if not files["gate_commands"].is_file():
        return measures
    results = CommandResults.model_validate_json(files["gate_commands"].read_bytes())
    return (*measures, *results.measures(results.commands))


def _gate(logged: Mapping[str, Any]) -> Gate:
    """The gate as the log declares it; a log in which the value itself was compared is judged that way."""
    declared = {name: logged[name] for name in _DECLARED}
    compared = COMPARED.get(logged["name"]) if logged["bound"] != logged["value"] else None
    return Gate(**declared, explains="", compared=compared)


def _differences(verdict: GateVerdict, logged: Mapping[str, Any]) -> Iterable[str]:
    for name in _COMPARED:
        now, then = getattr(verdict, name), logged[name]
        if now != then and not isinstance(then, str):  # what is not finite is text in the log
            yield f"{name} is {now!r}; the log says {then!r}"
