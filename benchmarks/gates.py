"""Which gate catches which bad candidate, and how often gates reject a good one: `python benchmarks/gates.py`.

    python benchmarks/gates.py --quick --json FILE     within ten minutes on two cores
    python benchmarks/gates.py                         also writes gates.json and .svg under benchmarks/results

One home is made of the demo's world and model (`gates_world.py`), another one with a small chat model
(`gates_chat.py`).  Bad candidates (`gates_mutants.py`) and good ones (`gates_good.py`) are made as weights, written as
checkpoints, and judged by the worker's round and kbsync's gates with their default thresholds.  Ends with 1 if a bad
one is missed, or more than one in twenty good ones is rejected.  With `--resume`, what the file of the result has
already is kept, and only the rest is measured.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Literal

if __package__ in (None, ""):  # started by its path: the repository's root is not among the import paths
    sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks import gates_chat, gates_world
from benchmarks.gates_good import Good
from benchmarks.gates_mutants import MUTANTS, Mutant
from benchmarks.gates_world import INTEGRITY, WRITER, Exam, HomeName
from kbsync.gates import DEFAULT_GATES
from kbsync.home import RunDirectory

RESULTS = Path(__file__).parent / "results"
GOOD = {"world": 40, "chat": 4}
"""Number of good candidates, by home."""
QUICK_GOOD = {"world": 20, "chat": 2}
ALARMS = 0.05
"""Largest share of good candidates that may be rejected."""
HOMES: dict[HomeName, Callable[[Path], RunDirectory]] = {"world": gates_world.play, "chat": gates_chat.play}
"""Name of a home → what makes it below a directory; it returns the directory of the run that is judged."""

Row = tuple[Literal["mutant", "good"], dict[str, Any]]
Task = tuple[Literal["mutant", "good"], HomeName, Any]
"""What is judged: a kind of mutant, or the number of a good candidate."""
_exams: dict[HomeName, Exam] = {}
"""The exams of a process of the pool."""


def tasks(mutants: Sequence[Mutant], good: Mapping[str, int]) -> list[Task]:
    """All that is to be judged."""
    found: list[Task] = [("mutant", one.home, one.kind) for one in mutants]
    return [*found, *(("good", home, number) for home in HOMES for number in range(good[home]))]


def measure(root: Path, todo: Sequence[Task], scratch: Path, processes: int) -> Iterator[Row]:
    """The row of each task, as they are finished; the homes are made below `root` unless they are there."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(root, scratch)) as pool:
        homes = list(dict.fromkeys(home for _, home, _ in todo))
        list(pool.map(prepared, [root / home for home in homes], homes))
        for done in as_completed([pool.submit(_judge, task) for task in todo]):
            yield done.result()


def _begin(root: Path, scratch: Path) -> None:
    global _root, _scratch
    torch.set_num_threads(1)
    _root, _scratch = root, scratch / str(os.getpid())


_root: Path
_scratch: Path


def _judge(task: Task) -> Row:
    what, home, which = task
    if home not in _exams:
        run = RunDirectory(prepared(_root / home, home))
        _exams[home] = Exam(run, _scratch / home, gates_chat.GATES if home == "chat" else DEFAULT_GATES)
    exam = _exams[home]
    row: dict[str, Any] = {"number": which, "home": home}
    if what == "good":
        outcome = Good(which).judged(exam)
    else:
        mutant = next(one for one in MUTANTS if one.kind == which)
        outcome = mutant.judged(exam)
        row = {"kind": which, "what": mutant.what, "expected": sorted(mutant.expected)}
    return what, row | {"caught_by": list(outcome.caught_by), "figures": _figures(outcome)}


def _figures(outcome: Any) -> dict[str, float | None]:
    return {v.name: None if v.bound is None else round(v.bound, 4) for v in outcome.verdicts}


def result(rows: Sequence[tuple[str, Mapping[str, Any]]], seconds: float) -> dict[str, Any]:
    """What is written as JSON."""
    order = [mutant.kind for mutant in MUTANTS]
    mutants = sorted(
        (row for what, row in rows if what == "mutant"), key=lambda row: order.index(row["kind"])
    )
    good = sorted(
        (row for what, row in rows if what == "good"),
        key=lambda row: (row["home"] == "chat", row["number"]),
    )
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


def kept(file: Path) -> tuple[list[Row], float]:
    """The rows that `file` has, and the seconds that they took; none without the file."""
    if not file.exists():
        return [], 0.0
    found = json.loads(file.read_text(encoding="utf-8"))
    rows: list[Row] = [("mutant", row) for row in found["mutants"]]
    return [*rows, *(("good", row) for row in found["good"]["candidates"])], found["seconds"]


def left(todo: Sequence[Task], rows: Sequence[Row]) -> list[Task]:
    """`todo` without what `rows` are about."""
    kinds = {row["kind"] for what, row in rows if what == "mutant"}
    numbers = {(row["home"], row["number"]) for what, row in rows if what == "good"}
    return [
        (what, home, which)
        for what, home, which in todo
        if (which not in kinds if what == "mutant" else (home, which) not in numbers)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    quick, full = sum(QUICK_GOOD.values()), sum(GOOD.values())
    parser.add_argument("--quick", action="store_true", help=f"{quick} good candidates instead of {full}")
    parser.add_argument(
        "--json", type=Path, default=RESULTS / "gates.json", help="where the result is written"
    )
    parser.add_argument("--only", nargs="*", help="only these kinds, and no good ones")
    parser.add_argument(
        "--resume", action="store_true", help="keep what is in the file of the result already"
    )
    parser.add_argument("--home", type=Path, help="keep the homes here, and use them again")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    started = time.monotonic()
    mutants = [one for one in MUTANTS if not options.only or one.kind in options.only]
    good = dict.fromkeys(HOMES, 0) if options.only else QUICK_GOOD if options.quick else GOOD
    rows, before = kept(options.json) if options.resume else ([], 0.0)
    todo = left(tasks(mutants, good), rows)
    with tempfile.TemporaryDirectory(prefix="kbsync-gates-") as scratch:
        root = options.home or Path(scratch) / "homes"
        for what, row in measure(root, todo, Path(scratch), options.processes):
            rows.append((what, row))
            name = row.get("kind", f"good {row.get('number')}")
            seconds = time.monotonic() - started
            print(f"{seconds:4.0f} s  {name}: {', '.join(row['caught_by']) or '-'}", file=sys.stderr)
            _write(result(rows, before + seconds), options.json)
    found = result(rows, before + time.monotonic() - started)
    from benchmarks.gates_tables import matrix

    print(matrix(found))
    _write(found, options.json)
    plot(found, options.json.with_suffix(".svg"))
    for line in (wrong := faults(found)):
        print(line, file=sys.stderr)
    return 1 if wrong else 0


def _write(found: Mapping[str, Any], file: Path) -> None:
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def prepared(root: Path, home: HomeName = "world") -> Path:
    """The directory of the run whose exam is taken; made once below `root`."""
    noted = root / "run.txt"
    if not noted.exists():
        run = HOMES[home](root)
        noted.write_text(str(run.path), encoding="utf-8")
    return Path(noted.read_text(encoding="utf-8"))


if __name__ == "__main__":
    raise SystemExit(main())
