"""The paper's experiments one after the other in one home, and what each of them takes.

    python -m benchmarks.paper --home HOME [--pretrained DIR --settings FILE] [--out DIR] [--only NAME,...]
    python -m benchmarks.paper --home HOME --jobs 16 --minutes 60 [--device cuda] [--full] [--pretrained DIR ...]

Runs `kbsync bench NAME --quick` for every experiment, in processes of their own with one thread, and adds up the CPU
seconds and the wall seconds of each.  The story of stars is told on the pretrained model, since the testbed has never
met those names; without `--pretrained` it is left out.  An experiment that is done is not run again; one that was
interrupted carries on, and what it took before counts.

With `--jobs` so many processes run side by side within `--minutes`, as `benchmarks.paper_jobs` tells.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import paper_jobs
from kbsync.experiments.registry import EXPERIMENTS
from kbsync.experiments.report import TextTable, machine

STORY = "stars"
"""The experiment that needs a pretrained model."""
FIRST = "editors"
"""Comes first, so that MEND is trained in it: what that takes is in its notes."""
NAME = "durations"


@dataclass
class Duration:
    """What an experiment took so far."""

    cpu: float = 0.0
    wall: float = 0.0
    done: bool = False


def command(name: str, options: argparse.Namespace) -> list[str]:
    """The command of one experiment."""
    own = [sys.executable, "-m", "kbsync", "--home", str(options.home), "bench", name, "--quick"]
    if name == STORY:
        own += ["--model", str(options.pretrained), "--editors", "memit"]
        own += ["--settings", str(options.settings)] if options.settings else []
    return [*own, "--out", str(options.out)]


def run(name: str, options: argparse.Namespace, before: Duration) -> Duration:
    """Run one experiment, and return what it took with what it took before."""
    began, used = time.monotonic(), _children()
    code = subprocess.run(
        command(name, options), check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ).returncode
    return Duration(before.cpu + _children() - used, before.wall + time.monotonic() - began, code == 0)


def _children() -> float:
    """CPU seconds of all processes that were started and have ended."""
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime


def table(found: dict[str, Duration]) -> TextTable:
    """The experiments in the order in which they ran, and all together."""
    rows: list[tuple[str, str, str]] = [
        (name, f"{one.cpu:.0f}", f"{one.wall:.0f}") for name, one in found.items() if one.done
    ]
    cpu, wall = (sum(getattr(one, what) for one in found.values() if one.done) for what in ("cpu", "wall"))
    rows.append(("all together", f"{cpu:.0f}", f"{wall:.0f}"))
    return TextTable("durations", ("experiment", "CPU seconds", "wall seconds"), tuple(rows))


def save(out: Path, found: dict[str, Duration]) -> None:
    content = {"machine": machine(), "experiments": {name: asdict(one) for name, one in found.items()}}
    (out / f"{NAME}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    page = f"# What the experiments take, `--quick`, one thread\n\n{table(found).markdown()}\n"
    (out / f"{NAME}.md").write_text(page, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--home", type=Path, required=True, help="keeps trials, δs and trained networks")
    parser.add_argument("--pretrained", type=Path, help=f"the model that {STORY} is run on")
    parser.add_argument("--settings", type=Path, help="settings of that model")
    parser.add_argument("--only", default="", help="names of experiments, separated by commas; default: all")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/paper"))
    parser.add_argument("--jobs", type=int, default=0, help="processes side by side; default: one by one")
    parser.add_argument("--minutes", type=float, default=60.0, help="time of all, with --jobs")
    parser.add_argument("--device", default="cpu", help="where most of them run, with --jobs: cpu or cuda")
    parser.add_argument("--full", action="store_true", help="not `--quick`, with --jobs")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.jobs:
        return paper_jobs.run(options)
    file = options.out / f"{NAME}.json"
    stored = json.loads(file.read_bytes())["experiments"] if file.exists() else {}
    found = {name: Duration(**one) for name, one in stored.items()}
    names = [name for name in options.only.split(",") if name] or sorted(
        EXPERIMENTS, key=lambda n: n != FIRST
    )
    for name in names:
        if found.get(name, Duration()).done or (name == STORY and options.pretrained is None):
            continue
        found[name] = run(name, options, found.get(name, Duration()))
        save(options.out, found)
        if not found[name].done:
            return 1
    print(table(found).markdown())
    return 0


if __name__ == "__main__":
    sys.exit(main())
