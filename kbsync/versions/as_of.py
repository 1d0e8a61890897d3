"""The model as of a date: a checkpoint that is built apart from runs, and never goes live by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from editing.errors import DamagedCheckpoint
from editing.storage.checkpoints import collect_garbage, verify
from editing.storage.manifest import NAME
from kbsync.application import Application
from kbsync.standalone.commands import refuse_place
from kbsync.versions.building import BuiltView, Views, built_view, name_of
from kbsync.versions.past import Time, facts_at


@dataclass(frozen=True, slots=True)
class AsOf:
    """What was built of a date."""

    at: datetime
    time: Time
    built: bool
    """False: the same checkpoint was there already."""
    view: BuiltView


def build_as_of(
    app: Application,
    views: Views,
    at: datetime,
    time: Time = "world",
    *,
    out: Path | None = None,
    exam: bool = False,
) -> AsOf:
    """Build the model as of `at` into `out`, or into the home, which keeps `[state] keep_as_of` of them.

    Without `exam` nothing is judged.  Raises UsageError for a place that cannot be used, WorkerFailed, Stopping.
    """
    if out is not None:
        refuse_place(out, app.home)
    planned = views.fitting(facts_at(app, at, time))
    name = name_of(app, planned.facts, f"{at:%Y-%m-%d}")
    directory = app.home.as_of / name if out is None else out.absolute()
    digest, report = ("" if exam or out is not None else _kept(directory)), None
    if not digest:
        report = views.written(planned.facts, directory, exam=exam)
        digest = report.checkpoint_digest
    if out is None:
        _keep_newest(app, name)
    return AsOf(
        at, time, report is not None, built_view(app, planned, directory, digest, report, judged=exam)
    )


def answers_at(app: Application, views: Views, at: datetime, time: Time, prompts: Sequence[str]) -> list[str]:
    """What the model as of `at` answers to each prompt; it is edited in memory, from the cache."""
    return list(views.asked(facts_at(app, at, time), prompts).answers)


def _kept(directory: Path) -> str:
    """The digest of a whole checkpoint that is there already; empty if there is none."""
    try:
        return verify(directory) if directory.is_dir() else ""
    except DamagedCheckpoint:
        return ""


def _keep_newest(app: Application, name: str) -> None:
    """Remove the checkpoints of dates that were built longest ago, beyond the number that is kept."""
    (app.home.as_of / name / NAME).touch()  # one that is asked for again counts as new
    built = [one for one in app.home.as_of.iterdir() if (one / NAME).is_file()]
    built.sort(key=lambda one: (one / NAME).stat().st_mtime_ns, reverse=True)
    collect_garbage(app.home.as_of, {one.name for one in built[: app.settings.state.keep_as_of]})
