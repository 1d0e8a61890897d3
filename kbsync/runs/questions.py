"""Asking the worker outside any run: what the base knows, and what a build would cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from editing.fact_failure import FactFailure
from editing.preflight import Preflight
from editing.progress import TimedProgress, silent
from editing.spec import BuildReport, BuildSpec, FactSpec
from kbsync.application import Application
from kbsync.executor import Worker
from kbsync.home import RunDirectory
from kbsync.leadership import Leadership
from kbsync.runs.attempts import ask
from kbsync.runs.planning import Plan
from kbsync.runs.probe_triples import ProbeTriple
from kbsync.runs.specs import ask_spec, plan_spec, prompts_spec, question_spec
from state.records import BaseAnswer, Fact


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the base knows."""

    known: dict[int, bool]
    """Fact id → whether the base states the fact unedited."""
    failures: tuple[FactFailure, ...]
    """Facts that the base cannot be asked, and that therefore cannot be edited."""


def base_knowledge(
    app: Application,
    leadership: Leadership,
    worker: Worker,
    facts: tuple[Fact, ...],
    progress: TimedProgress = silent,
) -> Knowledge:
    """Which of `facts` the base states unedited; asks the worker only what the ledger does not know."""
    ids = [fact.id for fact in facts]
    with app.state.read() as tx:
        answers = tx.base_answers(app.base.digest, ids)
    unasked = [fact for fact in facts if fact.id not in answers]
    failures: tuple[FactFailure, ...] = ()
    if unasked:
        report = _ask(app, worker, ask_spec(app, unasked), app.home.questions("ask"), progress)
        fresh = {int(fact.id): BaseAnswer(fact.known, fact.base_answer) for fact in report.facts}
        with leadership.write() as tx:
            tx.put_base_answers(app.base.digest, fresh)
        answers = {**answers, **fresh}
        failures = report.failures
    return Knowledge({fact: found.known for fact, found in answers.items()}, failures)


def base_states(
    app: Application, worker: Worker, asked: Sequence[ProbeTriple], progress: TimedProgress = silent
) -> list[bool]:
    """For each question, whether the base answers it as expected; false if it cannot be asked."""
    questions = [
        FactSpec(str(number), one.template, one.label, one.target) for number, one in enumerate(asked)
    ]
    report = _ask(app, worker, question_spec(app, questions), app.home.questions("probes"), progress)
    known = {fact.id for fact in report.facts if fact.known}
    return [question.id in known for question in questions]


def said(
    app: Application,
    worker: Worker,
    prompts: Sequence[str],
    checkpoint: Path | None = None,
    progress: TimedProgress = silent,
) -> list[str]:
    """What the base answers to each prompt, or the checkpoint in a directory, which has to be built from that base.

    As `kbsync.queries.answers.said`, but the worker has the model in memory.
    """
    # Another checkpoint may be there now.
    return list(_ask_again(app, worker, prompts_spec(app, prompts, checkpoint), "said", progress).answers)


def forecast(
    app: Application, worker: Worker, planned: Plan, progress: TimedProgress = silent
) -> Preflight | None:
    """The preflight of a build of `planned`; None if nothing would be edited."""
    # The same spec costs less later, as the cache fills.
    return _ask_again(app, worker, plan_spec(app, planned.facts), "plan", progress).cost.preflight


def _ask_again(
    app: Application, worker: Worker, spec: BuildSpec, name: str, progress: TimedProgress
) -> BuildReport:
    """The worker's answer to questions of that name; an earlier report on the same spec is not reused."""
    directory = app.home.questions(name).prepare()
    directory.report.unlink(missing_ok=True)
    return _ask(app, worker, spec, directory, progress)


def _ask(
    app: Application, worker: Worker, spec: BuildSpec, directory: RunDirectory, progress: TimedProgress
) -> BuildReport:
    """The worker's answer; raises WorkerFailed, Stopping."""
    spec.write(directory.prepare().spec)
    return ask(app, worker, directory.spec, progress)
