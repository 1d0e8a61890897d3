"""Which gate catches which bad candidate, and how often gates reject a good one: `python benchmarks/gates.py`.

    python benchmarks/gates.py --quick --json FILE     within ten minutes on two cores
    python benchmarks/gates.py                         also writes gates.json and .svg under benchmarks/results

A home is made of the demo's world and model (`gates_world.py`).  Bad candidates (`gates_mutants.py`) and good ones
(`gates_good.py`) are made as weights, written as checkpoints, and judged by the worker's round and kbsync's gates with
their default thresholds.  Ends with 1 if a bad one is missed, or more than one in twenty good ones is rejected.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started by its path: the repository's root is not among the import paths
    sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.gates_good import Good
from benchmarks.gates_mutants import MUTANTS, Mutant
from benchmarks.gates_world import INTEGRITY, WRITER, Exam, play
from kbsync.gates import DEFAULT_GATES
from kbsync.home import RunDirectory

RESULTS = Path(__file__).parent / "results"
GOOD = 40
QUICK_GOOD = 20
ALARMS = 0.05
"""Largest share of good candidates that may be rejected."""

_exam: Exam
"""The exam of a process of the pool."""


def measure(
    run: Path, mutants: Sequence[Mutant], good: int, scratch: Path, processes: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """("mutant" or "good", its row), as they are finished."""
    context = multiprocessing.get_context("spawn")
    tasks = [
        *((_judge_mutant, one.kind) for one in mutants),
        *((_judge_good, number) for number in range(good)),
    ]
    with ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(run, scratch)) as pool:
        for done in as_completed([pool.submit(task, argument) for task, argument in tasks]):
            yield done.result()


def _begin(run: Path, scratch: Path) -> None:
    global _exam
    torch.set_num_threads(1)
    _exam = Exam(RunDirectory(run), scratch / str(os.getpid()))


def _judge_mutant(kind: str) -> tuple[str, dict[str, Any]]:
    mutant = next(one for one in MUTANTS if one.kind == kind)
    outcome = mutant.judged(_exam)
    expected = sorted(mutant.expected)
    row = {"kind": kind, "what": mutant.what, "expected": expected, "caught_by": list(outcome.caught_by)}
    return "mutant", row | {"figures": _figures(outcome)}


def _judge_good(number: int) -> tuple[str, dict[str, Any]]:
    outcome = Good(number).judged(_exam)
    return "good", {"number": number, "caught_by": list(outcome.caught_by), "figures": _figures(outcome)}


def _figures(outcome: Any) -> dict[str, float | None]:
    return {v.name: None if v.bound is None else round(v.bound, 4) for v in outcome.verdicts}


def result(rows: Sequence[tuple[str, Mapping[str, Any]]], seconds: float) -> dict[str, Any]:
    """What is written as JSON."""
    order = [mutant.kind for mutant in MUTANTS]
    mutants = sorted(
        (row for what, row in rows if what == "mutant"), key=lambda row: order.index(row["kind"])
    )
    good = sorted((row for what, row in rows if what == "good"), key=lambda row: row["number"])
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "seconds": round(seconds),
        "gates": [*(gate.name for gate in DEFAULT_GATES if gate.enabled), WRITER, INTEGRITY],
        "mutants": mutants,
        "good": {
            "runs": len(good),
            "alarms": sum(bool(row["caught_by"]) for row in good),
            "candidates": good,
        },
    }


def faults(found: Mapping[str, Any]) -> list[str]:
    """What is not as it should be: missed mutants, and too many false alarms."""
    lines = [
        f"{row['kind']} is caught by {row['caught_by'] or 'no gate'}, not by {' or '.join(row['expected'])}"
        for row in found["mutants"]
        if not set(row["expected"]) & set(row["caught_by"])
    ]
    good = found["good"]
    if good["alarms"] > max(1, ALARMS * good["runs"]):
        lines.append(f"{good['alarms']} of {good['runs']} good candidates are rejected")
    return lines


def plot(found: Mapping[str, Any], path: Path) -> None:
    """The matrix: filled where a gate catches a kind, ringed where it should."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    gates = [name for name in found["gates"] if any(name in row["caught_by"] for row in found["mutants"])]
    figure, axes = plt.subplots(figsize=(2.5 + 0.45 * len(gates), 1.5 + 0.27 * len(found["mutants"])))
    for y, row in enumerate(found["mutants"]):
        for x, gate in enumerate(gates):
            if gate in row["caught_by"]:
                axes.plot(x, y, "s", color="C3" if gate in row["expected"] else "C7", ms=9)
    axes.set_xticks(range(len(gates)), gates, rotation=60, ha="right")
    axes.set_yticks(range(len(found["mutants"])), [row["kind"] for row in found["mutants"]])
    axes.invert_yaxis()
    axes.set_title(f"good ones rejected: {found['good']['alarms']} of {found['good']['runs']}", fontsize=10)
    axes.grid(alpha=0.2)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_GOOD} good candidates instead of {GOOD}"
    )
    parser.add_argument("--json", type=Path, help="where the result is written")
    parser.add_argument("--only", nargs="*", help="only these kinds, and no good ones")
    parser.add_argument("--home", type=Path, help="keep the home here, and use it again")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    started = time.monotonic()
    mutants = [one for one in MUTANTS if not options.only or one.kind in options.only]
    good = 0 if options.only else QUICK_GOOD if options.quick else GOOD
    rows = []
    with tempfile.TemporaryDirectory(prefix="kbsync-gates-") as scratch:
        run = _prepared(options.home or Path(scratch) / "world")
        for what, row in measure(run, mutants, good, Path(scratch), options.processes):
            rows.append((what, row))
            name = row.get("kind", f"good {row.get('number')}")
            print(
                f"{time.monotonic() - started:4.0f} s  {name}: {', '.join(row['caught_by']) or '-'}",
                file=sys.stderr,
            )
    found = result(rows, time.monotonic() - started)
    from benchmarks.gates_tables import matrix

    print(matrix(found))
    files = [options.json] if options.json else [RESULTS / "gates.json"]
    for file in files:
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        plot(found, file.with_suffix(".svg"))
    for line in (wrong := faults(found)):
        print(line, file=sys.stderr)
    return 1 if wrong else 0


def _prepared(root: Path) -> Path:
    """The directory of the run whose exam is taken; made once below `root`."""
    noted = root / "run.txt"
    if not noted.exists():
        run = play(root)
        noted.write_text(str(run.path), encoding="utf-8")
    return Path(noted.read_text(encoding="utf-8"))


if __name__ == "__main__":
    raise SystemExit(main())
