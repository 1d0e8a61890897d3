"""The verdicts of a round: on what the worker, the gate commands and the judge model found about its candidate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from editing.spec import BuildReport, Measure
from kbsync import gates
from kbsync.application import Application
from kbsync.gates import GateVerdict
from kbsync.gates.judge_record import JudgeRecord, read_record
from kbsync.gates.votes import Counted, with_votes
from kbsync.home import RunDirectory
from kbsync.leadership import Leadership
from kbsync.runs import gate_commands
from kbsync.runs.judge import ask_judge
from state.records import Run


def judged(
    app: Application, leadership: Leadership, run: Run, report: BuildReport, directory: RunDirectory
) -> tuple[tuple[GateVerdict, ...], tuple[Measure, ...]]:
    """A verdict of every gate, and the measures; runs the gate commands and asks the judge as far as that is left."""
    assert run.checkpoint is not None
    with app.state.read() as tx:
        candidate, live = tx.checkpoint(run.checkpoint), tx.live()
    directories = gate_commands.Directories(
        candidate=app.home.checkpoint(candidate.path),
        live=None if live is None else app.home.checkpoint(live.path),
        base=app.base.directory,
    )
    results = gate_commands.measure(app, leadership, directories, candidate.digest, directory.gate_commands)
    counted = _counted(app, report, ask_judge(app, leadership, report, directory))
    commands = app.settings.gate_commands
    measures = (*counted.report.measures, *results.measures(commands))
    verdicts = gate_commands.explained(gates.judge_all(app.gates, measures), commands, results)
    return tuple(_noted(verdicts, counted.notes)), measures


def counted_report(app: Application, report: BuildReport, directory: RunDirectory) -> BuildReport:
    """The report with the votes of a judge that count, as they were kept when the round was judged."""
    record = read_record(directory.judge)
    if record is None or record.candidate != report.checkpoint_digest:
        return report
    return _counted(app, report, record).report


def _counted(app: Application, report: BuildReport, record: JudgeRecord | None) -> Counted:
    if record is None:
        return Counted(report, {})
    return with_votes(report, app.gates, record.votes(), record.share)


def _noted(verdicts: Iterable[GateVerdict], notes: Mapping[str, str]) -> Iterable[GateVerdict]:
    """The verdicts with what was found about undecided answers."""
    for verdict in verdicts:
        note = notes.get(verdict.name)
        yield replace(verdict, detail="; ".join(filter(None, (verdict.detail, note)))) if note else verdict
