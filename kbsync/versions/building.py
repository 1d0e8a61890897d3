"""Building views apart from runs: from the same cache, by the same worker, without a step towards going live.

A view is edited in memory to be asked, or written as a checkpoint.  Only what the cache lacks is optimised; the ledger
is read and never written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from editing.durable import sweep
from editing.progress import TimedProgress, silent
from editing.spec import BuildReport, BuildSpec
from kbsync.application import Application
from kbsync.errors import UsageError
from kbsync.executor import Worker
from kbsync.gates import GateVerdict, judge_all
from kbsync.queries.answers import said
from kbsync.runs import planning
from kbsync.runs.attempts import ask
from kbsync.runs.specs import view_spec
from kbsync.versions.naming import Version
from state.records import Fact


@dataclass
class Tally:
    """What the views of one session cost."""

    builds: int = 0
    optimised: int = 0
    """Key groups whose δ the cache did not have."""
    cached: int = 0


@dataclass(frozen=True, slots=True)
class BuiltView:
    """A checkpoint that was built apart from runs."""

    directory: Path
    digest: str
    facts: int
    """Facts of the view, those that the base states unedited among them."""
    waiting: int
    """Facts beyond the base's capacity."""
    left_out: dict[str, str]
    """Fact → why it could not be edited."""
    groups_optimised: int
    groups_cached: int
    judged: bool
    gates: tuple[GateVerdict, ...]
    """Each gate's verdict, if it was judged; live is not compared."""

    @property
    def passed(self) -> bool:
        """False only if it was judged and a gate failed."""
        return all(verdict.passed for verdict in self.gates)


def built_view(
    app: Application,
    planned: planning.Plan,
    directory: Path,
    digest: str,
    report: BuildReport | None,
    *,
    judged: bool = False,
) -> BuiltView:
    """What came of building `planned`; `report` is None where the same checkpoint was there already."""
    failures = () if report is None else report.failures
    return BuiltView(
        directory,
        digest,
        len(planned.facts),
        len(planned.waiting),
        {failure.id: failure.reason for failure in failures if not failure.wording},
        report.cost.groups_optimised if report else 0,
        report.cost.groups_cached if report else 0,
        judged,
        judge_all(app.gates, report.measures) if judged and report is not None else (),
    )


@dataclass
class Views:
    """Builds views with one worker, which loads the base once."""

    app: Application
    worker: Worker
    progress: TimedProgress = silent
    tally: Tally = field(default_factory=Tally)

    def answers(self, version: Version, prompts: Sequence[str]) -> list[str]:
        """What a version answers: as its kept weights do, or built now if they are not kept."""
        if version.directory is not None:
            return said(version.directory, prompts, self.app.settings.model.device)
        if version.base not in (None, self.app.base.digest):
            raise UsageError(
                f"{version.name} was built from another base, and its weights are not kept",
                "name a version of the configured base, or one that `kbsync checkpoints` shows as kept",
            )
        return list(self.asked(version.facts, prompts).answers)

    def asked(self, facts: Sequence[Fact], prompts: Sequence[str]) -> BuildReport:
        """Edit a view in memory and ask it; nothing is written but what the cache lacked."""
        return self._done(view_spec(self.app, self.fitting(facts).facts, prompts=prompts))

    def written(self, facts: Sequence[Fact], out: Path, *, exam: bool = False) -> BuildReport:
        """Write a view as the checkpoint `out`; with `exam` it is judged as a candidate is."""
        return self._done(view_spec(self.app, facts, out=out, exam=exam))

    def fitting(self, facts: Sequence[Fact]) -> planning.Plan:
        """What the base has room for of these facts, chosen as a run chooses among wanted ones."""
        with self.app.state.read() as tx:
            known = tx.base_answers(self.app.base.digest, [fact.id for fact in facts])
        planned = planning.decide(
            facts,
            None,
            {id: answer.known for id, answer in known.items()},
            self.app.settings.plan,
            self.app.now(),
            asked=True,
        )
        return planned if isinstance(planned, planning.Plan) else planning.Plan((), (), (), (), frozenset())

    def _done(self, spec: BuildSpec) -> BuildReport:
        """The worker's report.  Raises WorkerFailed, Stopping."""
        directory = self.app.home.questions("view").prepare()
        directory.report.unlink(missing_ok=True)  # a view is asked again: it may differ in what the cache has
        spec.write(directory.spec)
        report = ask(self.app, self.worker, directory.spec, self.progress)
        self.tally.builds += 1
        self.tally.optimised += report.cost.groups_optimised
        self.tally.cached += report.cost.groups_cached
        return report


@contextmanager
def views(app: Application, purpose: str, progress: TimedProgress = silent) -> Iterator[Views]:
    """Builds views within the block; raises HomeInUse if a daemon or another command works in this home."""
    home = app.home.prepare()
    with home.locked(purpose):
        home.sweep_storage()
        sweep(home.as_of)
        with app.executor(alive=lambda: None).worker(home.worker_log) as worker:
            yield Views(app, worker, progress)


def name_of(app: Application, facts: Sequence[Fact], day: str) -> str:
    """The directory's name of a view: the same facts, base and settings have the same name."""
    spec = replace(view_spec(app, facts), threads=None)
    return f"{day}-{hashlib.sha256(spec.digest.encode()).hexdigest()[:12]}"
