"""The paper's experiments side by side, most of them on a GPU, within a given time (`benchmarks.paper --jobs`).

Every process has a home of its own; all share one cache (`[model] shared`), so what one has measured, none measures
again.  Editors that go fact by fact (ROME), and what is measured in CPU seconds, run on the CPU.  On the pretrained
model `editors` comes first, with few facts, and has the GPU to itself, since its costs are wall time there.  In the
last part of the time the reports are written, of all that is measured by then; the same command carries on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

TESTBED, PRETRAINED = "testbed", "pretrained"
TRACING = "tracing"
BATCHED = ("memit,memit_null_space,one_gradient", "ft_w,locft_bf")
"""Editors of the same work, which are measured in one process."""
SERIAL = ("rome", "mend,retrieval")
WITHOUT_NETWORKS = "memit,memit_null_space,one_gradient,ft_w,locft_bf,rome,retrieval"
"""MEND is not trained on the pretrained model."""
REPORTS = 0.2
"""Share of the time that is kept for the reports, but at most `REPORTS_S`."""
REPORTS_S = 75.0
ALONE = 0.25
"""Share of the time that `editors` may have the GPU to itself."""
LEAST_S = 90.0
"""A shorter turn measures nothing: a good part of it goes into loading the model and asking what it knows."""
REPORT_LIMIT_S = 600.0
"""A report that has taken so long is given up."""
GRACE_S = 10.0
"""A process that has not ended so long after its time is killed; what it has measured is stored."""


@dataclass(frozen=True, slots=True)
class Job:
    """One process."""

    model: str
    experiment: str
    device: str
    editors: str = ""
    copy: int = 1
    """Processes with the same work divide the trials among themselves."""
    quick: bool = False
    """Whether it is quick although the others are not."""

    @property
    def name(self) -> str:
        editors = self.editors.replace(",", "-")
        return "-".join(part for part in (self.model, self.experiment, editors, str(self.copy)) if part)


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a process ended."""

    job: str
    code: int
    seconds: float


def on_gpu(options: argparse.Namespace) -> list[Job]:
    """What runs on the device; of the pretrained model the first one runs alone."""
    first = [Job(TESTBED, "ablations", options.device), Job(TESTBED, "scaling", options.device, BATCHED[0])]
    first += [Job(TESTBED, "table", options.device, one) for one in BATCHED]
    later = [Job(TESTBED, "scaling", options.device, BATCHED[1])]
    later += [Job(TESTBED, "ablations", options.device, copy=2)]
    later += [Job(TESTBED, name, options.device) for name in ("mixtures", "categories")]
    if options.pretrained is None:
        return [*first, *later]

    def own(name: str, editors: str = "memit", copy: int = 1, quick: bool = False) -> Job:
        return Job(PRETRAINED, name, options.device, editors, copy, quick)

    head = own("editors", WITHOUT_NETWORKS, quick=True)
    early = [
        own("ablations"),
        own("table", BATCHED[0]),
        own("stars"),
        own(TRACING),
        own("scaling", BATCHED[0]),
    ]
    late = [own("table", "ft_w,retrieval"), own("scaling", "ft_w,retrieval"), own("ablations", copy=2)]
    late += [
        own("table", "rome"),
        own("table", "locft_bf"),
        own("scaling", "rome"),
        own("scaling", "locft_bf"),
    ]
    mixed = [job for pair in zip(early, first, strict=False) for job in pair] + early[len(first) :]
    return [
        head,
        *mixed,
        *(job for pair in zip(late, later, strict=False) for job in pair),
        *late[len(later) :],
    ]


def on_cpu() -> list[Job]:
    """What gains nothing from a GPU, or is measured in CPU seconds."""
    jobs = [Job(TESTBED, name, "cpu", editors) for name in ("scaling", "table") for editors in SERIAL]
    jobs += [Job(TESTBED, "editors", "cpu", editors) for editors in (*BATCHED, *SERIAL)]
    return [*jobs, Job(TESTBED, "election", "cpu")]


def command(job: Job, options: argparse.Namespace, out: Path, minutes: float) -> list[str]:
    """The command of one process, which has so many minutes."""
    if job.experiment == TRACING:
        limit, samples = ("1000", "10") if options.full else ("20", "2")
        own = ["benchmarks.tracing", "--model", str(options.pretrained), "--device", job.device]
        own += ["--limit", limit, "--samples", samples, "--minutes", f"{minutes:.2f}", "--out", str(out)]
        return [sys.executable, "-m", *own]
    own = ["kbsync", "--home", str(_home(job, options)), "bench", job.experiment]
    own += ["--device", job.device, "--out", str(out), "--minutes", f"{minutes:.2f}"]
    own += [] if options.full and not job.quick else ["--quick"]
    own += ["--editors", job.editors] if job.editors else []
    if job.model == PRETRAINED:
        own += ["--model", str(options.pretrained)]
        own += ["--settings", str(options.settings)] if options.settings else []
    return [sys.executable, "-m", *own]


def _home(job: Job, options: argparse.Namespace) -> Path:
    """A home for the process, with the cache of all."""
    home: Path = options.home.resolve() / "jobs" / job.name
    home.mkdir(parents=True, exist_ok=True)
    shared = json.dumps(str(options.home.resolve() / "shared"))
    (home / "kbsync.toml").write_text(f"[model]\nshared = {shared}\n", encoding="utf-8")
    return home


def perform(job: Job, options: argparse.Namespace, ends: float) -> JobEnd:
    """Measure in one process until it is done or its time is up; what there is no time for is not begun."""
    left = ends - time.monotonic()
    if left <= 0.0:
        return JobEnd(job.name, 0, 0.0)
    own = _home(job, options) / "out"
    out = options.out / job.model if job.experiment == TRACING else own
    return _run(job, options, command(job, options, out, left / 60), left + GRACE_S)


def write_report(job: Job, options: argparse.Namespace) -> JobEnd:
    """Write the files of one experiment, of what is stored."""
    return _run(job, options, command(job, options, options.out / job.model, 0.0), REPORT_LIMIT_S)


def _run(job: Job, options: argparse.Namespace, line: Sequence[str], seconds: float) -> JobEnd:
    """One process, which is killed after so many seconds; its output is in its home."""
    began = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with (_home(job, options) / "log").open("ab") as log:
        process = subprocess.Popen(line, env=environment, stdout=log, stderr=log)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
    end = JobEnd(job.name, code, time.monotonic() - began)
    print(f"{end.job}: code {end.code}, {end.seconds:.0f} s", flush=True)
    return end


def work(options: argparse.Namespace, began: float, until: float) -> list[JobEnd]:
    """All processes, so many at a time as `--jobs` says, half of them on the device."""
    gpu, cpu = on_gpu(options), on_cpu()
    half = max(options.jobs // 2, 1)
    with ThreadPoolExecutor(1) as beside:
        on_cores = beside.submit(in_turns, cpu, half, options, until)
        alone = []
        if options.pretrained is not None:
            alone = [perform(gpu.pop(0), options, began + ALONE * 60 * options.minutes)]
        return [*alone, *in_turns(gpu, half, options, until), *on_cores.result()]


def in_turns(jobs: Sequence[Job], size: int, options: argparse.Namespace, until: float) -> list[JobEnd]:
    """`size` at a time, with an equal share of the time for each; then those go on that it did not suffice for.

    Where the time does not suffice for a turn of each, those at the end are left out.
    """
    share = max((until - time.monotonic()) * min(size / len(jobs), 1.0), LEAST_S)

    def turn(job: Job) -> JobEnd:
        return perform(job, options, min(until, time.monotonic() + share))

    with ThreadPoolExecutor(size) as pool:
        first = list(pool.map(turn, jobs))
        cut = [job for job, end in zip(jobs, first, strict=True) if end.seconds >= share]
        return [*first, *pool.map(lambda job: perform(job, options, until), cut)]


def report(options: argparse.Namespace) -> list[JobEnd]:
    """Every experiment's files, of what is measured."""
    planned = [*on_gpu(options), *on_cpu()]
    first = {(job.model, job.experiment): job for job in reversed(planned) if job.experiment != TRACING}
    jobs = []
    for (model, name), job in first.items():
        device = "cpu" if (model, name) == (TESTBED, "editors") else options.device
        editors = WITHOUT_NETWORKS if model == PRETRAINED else ""
        jobs.append(Job(model, name, device, editors, quick=job.quick))
    with ThreadPoolExecutor(options.jobs) as pool:
        return list(pool.map(lambda job: write_report(job, options), jobs))


def run(options: argparse.Namespace) -> int:
    """Everything within `--minutes`; 0 if every report was written."""
    began = time.monotonic()
    seconds = 60 * options.minutes
    done = work(options, began, began + seconds - min(REPORTS * seconds, REPORTS_S))
    reports = report(options)
    content = {"jobs": [asdict(one) for one in done], "reports": [asdict(one) for one in reports]}
    (options.out / "jobs.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return int(_failed(reports))


def _failed(reports: Sequence[JobEnd]) -> bool:
    return any(one.code for one in reports)
