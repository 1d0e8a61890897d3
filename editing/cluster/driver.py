"""Directs a build on a Ray cluster: the worker process of `[executor] kind = "ray"`.

It speaks the protocol of `editing.worker`, so the daemon supervises it like any worker: it may be killed, hang, or lose
its cluster, and the next attempt resumes.  Nothing lives only in Ray: an actor stores every result under its content
key on the shared storage, a file system or an object store (`parcels.py`), the moment it is done, so a share that is
run again finds what the first run finished.

    ask    shares of the facts → one report of all
    build  the plan → shares of statistics and residuals → for each layer, shares of its keys → its solve, on one actor
           → shares of the exam → the whole round on one actor, which finds all of it
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from editing.cluster.connection import Connection
from editing.cluster.crew import Assignment, Crew
from editing.cluster.merging import merged
from editing.cluster.objects import Objects
from editing.cluster.parcels import Carrier, SharedStorage, ThroughObjects
from editing.cluster.plan import ClusterPlan
from editing.cluster.watchdog import Watchdog
from editing.editors.registry import editor_named
from editing.modes import Mode
from editing.preflight import Preflight
from editing.spec import BuildReport, BuildSpec
from editing.worker.finished import is_finished
from editing.worker.protocol import Channel

EXAM_SHARES = 8
"""Most shares of an exam: each reads every δ."""
SHARES_PER_ACTOR = 4
"""Shares are smaller than one per actor, so that a slow or restarted actor does not make the others wait."""
STATISTICS_SHARES = 8
"""Most shares of the statistics: each leaves a matrix of d_k² numbers for every layer on the storage."""


class Cluster:
    """Does rounds with the actors of one Ray cluster; the counterpart of `Workshop`."""

    def __init__(self, channel: Channel, plan: ClusterPlan) -> None:
        self.channel, self.plan = channel, plan
        watchdog = Watchdog(channel)
        self._carrier = _carrier(channel, plan)
        self._crew = Crew(channel, plan, watchdog, Connection(channel, plan, watchdog), self._carrier)
        self._last = ("", 0, 0)

    def load(self, directory: Path, digest: str, device: str | None) -> None:
        """Start the actors, each of which begins to load the base if it is at hand.  Raises EditingError."""
        self._crew.open((str(directory), digest, device) if self.plan.storage is None else None)

    def forget(self) -> None:
        """End the actors; the next round starts others."""
        self._crew.close()

    def round(self, path: Path) -> Path:
        """The round of the spec in `path`.  Raises EditingError."""
        spec = BuildSpec.read(path)
        if (self.plan.storage is not None or spec.mode == "build") and _finished(path):
            return path.with_name("report.json")
        self._carrier.prepare(spec)
        if spec.mode == "ask" and len(spec.facts) >= 2 * self.plan.least:
            return self._ask(spec, path)
        if spec.mode not in ("build", "view"):
            return self._whole(path)
        expected = self._prepare(spec, path)
        edited = expected is not None and self._edit(spec, path, expected)
        answered = self._examine(spec, path) if edited else ()
        report = self._judged(spec, path, answered) if answered else self._whole(path)
        self._carrier.clear(spec)
        for file in answered:
            Path(file).unlink(missing_ok=True)
        return report

    def _whole(self, path: Path) -> Path:
        task = Assignment(path)
        self._crew.run([task], lambda: self._moved(*task.progress))
        return self._received(task)

    def _received(self, task: Assignment) -> Path:
        """The report of a task that ended; raises its error."""
        if task.error is not None:
            raise task.error
        assert task.answer is not None
        return self._carrier.received(task.spec, task.answer)

    def _ask(self, spec: BuildSpec, path: Path) -> Path:
        """Divide the facts of a round that only asks the base."""
        count = min(len(spec.facts) // self.plan.least, SHARES_PER_ACTOR * self.plan.workers)
        started = time.perf_counter()
        parts = [replace(spec, facts=spec.facts[number::count]) for number in range(count)]
        tasks = [self._task(part, path, f"ask-{number}-of-{count}") for number, part in enumerate(parts)]
        self._crew.run(tasks, lambda: self._report("known", tasks, len(spec.facts)))
        reports = [BuildReport.read(self._received(task)) for task in tasks]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        whole = path.with_name("report.json")
        merged(spec, digest, reports, seconds=time.perf_counter() - started).write(whole)
        return whole

    def _prepare(self, spec: BuildSpec, path: Path) -> Preflight | None:
        """Have the actors compute together what of a build does not depend on its other parts; the build's estimate.

        A share that fails is left to the whole round, which meets the same error and says which facts it concerns.
        """
        divided = editor_named(spec.settings.editor).shares
        if not divided or not spec.facts:
            return None
        plan = BuildReport.read(self._whole(self._write(replace(spec, mode="plan"), path, "plan")))
        expected = plan.cost.preflight
        if expected is None:
            return None
        counts: dict[Mode, int] = {}
        if expected.statistics and spec.corpus:  # text of the model's own is sampled in one piece
            counts["statistics"] = min(STATISTICS_SHARES, self.plan.workers)
        counts["residuals"] = min(expected.optimised, SHARES_PER_ACTOR * self.plan.workers)
        shares = [
            self._task(replace(spec, mode=mode, share=(number, count)), path, f"{mode}-{number}-of-{count}")
            for mode, count in counts.items()
            if mode in divided and count > 1
            for number in range(count)
        ]
        self._divide(shares, "targets", expected.optimised)
        return expected

    def _edit(self, spec: BuildSpec, path: Path, expected: Preflight) -> bool:
        """Have the actors collect keys together, and one of them solve, layer by layer; whether all layers are done.

        What fails is left to the whole round, which then collects all keys itself.
        """
        count = min(expected.groups // self.plan.least, self.plan.workers)
        if not editor_named(spec.settings.editor).by_layer or count < 2:
            return False
        for step in range(expected.layers):
            keys = [
                self._task(
                    replace(spec, mode="keys", step=step, share=(number, count)),
                    path,
                    f"keys-{step}-{number}-of-{count}",
                )
                for number in range(count)
            ]
            solve = self._task(replace(spec, mode="solve", step=step), path, f"solve-{step}")
            if not (self._divide(keys, "keys", expected.groups) and self._divide([solve], "solve", 1)):
                return False
        return expected.layers > 0

    def _examine(self, spec: BuildSpec, path: Path) -> tuple[str, ...]:
        """Have the actors ask about shares of the facts; the files of the answers that there are.

        Each finds the candidate's weights in the cache.
        """
        count = min(len(spec.facts) // self.plan.least, self.plan.workers, EXAM_SHARES)
        if spec.mode != "build" or spec.edit_consequences or count < 2:
            return ()
        names = [f"exam-{number}-of-{count}" for number in range(count)]
        files = [str(path.parent / "shares" / name / "answers.safetensors") for name in names]
        whole = replace(spec, mode="exam", wanted=None, secret_questions=None, secret_answers=None)
        tasks = [
            self._task(
                replace(whole, share=(number, count), answered=(files[number],)), path, name, live=spec.live
            )
            for number, name in enumerate(names)
        ]
        self._divide(tasks, "judge candidate", len(spec.facts))
        return tuple(file for file in files if Path(file).exists())

    def _judged(self, spec: BuildSpec, path: Path, answered: tuple[str, ...]) -> Path:
        """The whole round with what actors answered; its report is that of `path`."""
        directory = path.parent / "shares" / "whole"
        directory.mkdir(parents=True, exist_ok=True)
        replace(spec, answered=answered).write(directory / "spec.json")
        report = BuildReport.read(self._whole(directory / "spec.json"))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        replace(report, spec_digest=digest).write(path.with_name("report.json"))
        return path.with_name("report.json")

    def _divide(self, shares: Sequence[Assignment], phase: str, total: int) -> bool:
        """Have the actors do the shares that no earlier attempt finished; whether all are done."""
        tasks = [task for task in shares if self.plan.storage is None or not _finished(task.spec)]
        self._crew.run(tasks, lambda: self._report(phase, tasks, total))
        for task in tasks:
            if task.error is not None:
                self.channel.log("a share failed", share=task.spec.parent.name, reason=str(task.error))
            else:
                self._received(task)
        return all(task.error is None for task in tasks)

    def _task(self, spec: BuildSpec, path: Path, name: str, *, live: str | None = None) -> Assignment:
        return Assignment(self._write(spec, path, name, live=live))

    def _write(self, spec: BuildSpec, path: Path, name: str, *, live: str | None = None) -> Path:
        """The spec of a part of the round of `path`, written below it."""
        directory = path.parent / "shares" / name
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / "spec.json"
        part = replace(spec, out="", live=live)
        part.write(file)
        return file

    def _report(self, phase: str, tasks: Sequence[Assignment], total: int) -> None:
        """The progress of all shares together."""
        shares = (1.0 if task.ended else _share(task.progress, phase) for task in tasks)
        self._moved(phase, int(sum(shares) / max(1, len(tasks)) * total), total)

    def _moved(self, phase: str, done: int, total: int) -> None:
        if (phase, done, total) != self._last:
            self._last = (phase, done, total)
            self.channel.progress(phase, done, total)


def _carrier(channel: Channel, plan: ClusterPlan) -> Carrier:
    """How rounds get to the actors; raises SpecError for a storage that is none."""
    if plan.storage is None:
        return SharedStorage()
    return ThroughObjects(Objects(plan.storage), channel.progress, plan.base)


def _finished(path: Path) -> bool:
    """Whether an earlier attempt finished the round of the spec in `path`."""
    return is_finished(path.with_name("report.json"), hashlib.sha256(path.read_bytes()).hexdigest())


def _share(progress: tuple[str, int, int], phase: str) -> float:
    """The share of a task that is done, if it is in the phase that takes longest."""
    now, done, total = progress
    return done / max(1, total) if now == phase else 0.0
