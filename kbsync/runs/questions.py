"""What the next run would take, asked of the worker: it alone knows which δs are cached, and the machine."""

from __future__ import annotations

from editing.preflight import Preflight
from kbsync.application import Application
from kbsync.executor import Progress, Worker, silent
from kbsync.runs.planning import Plan
from kbsync.runs.specs import plan_spec


def forecast(
    app: Application, worker: Worker, planned: Plan, progress: Progress = silent
) -> Preflight | None:
    """The preflight of a build of `planned`; None where nothing would be edited."""
    directory = app.home.runs / "plan"
    directory.mkdir(parents=True, exist_ok=True)
    # The same spec takes less another time, as the cache fills: an earlier report is no answer.
    directory.joinpath("report.json").unlink(missing_ok=True)
    spec_file = directory / "spec.json"
    plan_spec(app, planned.facts).write(spec_file)
    return Preflight.from_costs(worker.execute(spec_file, progress).cost)
