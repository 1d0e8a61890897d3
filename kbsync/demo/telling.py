"""What the demo's stories share: an application with a simulated clock, the steps of a story, and their output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from editing.progress import TimedProgress
from kbsync import logs
from kbsync.application import Application
from kbsync.console import say
from kbsync.demo.setting import StoryClock
from kbsync.executor import Worker
from kbsync.home import Home
from kbsync.leadership import Leadership
from kbsync.queries.answers import Answer
from kbsync.runs.questions import said
from kbsync.service.cycle import CycleReport, Reading, cycle, workers
from kbsync.settings.loading import load as load_settings

MOST_RUNS = 4


class Telling:
    """An application that a story leads; only its clock is simulated."""

    trigger: ClassVar[str] = "kbsync demo"

    def __init__(
        self, home: Home, config: Path, clock: StoryClock, progress: TimedProgress, *, quiet: bool
    ) -> None:
        self.clock, self.progress, self.quiet = clock, progress, quiet
        self.worker: Worker | None = None
        settings = load_settings(config)
        logs.configure(settings.log)
        self.app = Application(home, settings, now=clock)

    @contextmanager
    def leading(self) -> Iterator[Leadership]:
        """Hold the lease, with a worker, within the block."""
        with self.app.leading() as leadership, workers(self.app, leadership) as self.worker:
            self.worker.prepare(self.app.announced())
            yield leadership

    def sync(self, leadership: Leadership, *, bootstrap: bool = False) -> CycleReport:
        report = cycle(
            self.app,
            leadership,
            trigger=self.trigger,
            reading=Reading(bootstrap),
            worker=self.worker,
            progress=self.progress,
        )
        for run in report.runs:
            self.line(f"run {run.id}: {run.state}{f' ({run.reason})' if run.reason else ''}")
        if report.nothing:
            self.line(f"no run: {report.nothing}")
        return report

    def sync_until_live(self, leadership: Leadership, *, bootstrap: bool = False) -> None:
        """Sync until no run is rejected: a rejected run quarantines its worst facts, and the next builds the rest."""
        for _ in range(MOST_RUNS):
            report = self.sync(leadership, bootstrap=bootstrap)
            if all(run.state != "rejected" for run in report.runs):
                return

    def answers(self, app: Application, prompts: Sequence[str]) -> list[Answer]:
        """The answers of the base and of live to each prompt, from the worker, which has both in memory."""
        assert self.worker is not None
        with app.state.read() as tx:
            live = tx.live()
        base = said(app, self.worker, prompts)
        now: Sequence[str | None] = [None] * len(prompts)
        if live is not None:
            now = said(app, self.worker, prompts, app.home.checkpoint(live.path))
        return [Answer(*row) for row in zip(prompts, base, now, strict=True)]

    def live(self) -> str | None:
        """The digest of the live checkpoint."""
        with self.app.state.read() as tx:
            live = tx.live()
        return live.digest if live else None

    def chapter(self, number: str, title: str) -> None:
        say()
        say(f"{number}. {title}")

    def line(self, text: str) -> None:
        say(f"   {text}")
