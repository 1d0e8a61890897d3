"""Adam, L-BFGS and L-BFGS that begins without prefixes, on the testbed: `python -m benchmarks.testbed.optimisers`.

The same counterfactual edits, prefixes and statistics, one after the other in one process on one thread.  CPU seconds
are those of the optimisation alone.  Writes `testbed-optimisers.json`, `.md` and `.svg` under benchmarks/results: the
means over several draws of edits, brought up to date after each draw.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.testbed.drawing import axes_of
from benchmarks.testbed.quality import Bench
from benchmarks.testbed.tables import DEMO, RESULTS, bench, recommended
from editing.evaluation.figures import mean
from editing.memit.build import MemitResult, build
from editing.settings import EditSettings

EDITS = (100, 300)
CHOICES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("adam", {"optimiser": "adam", "steps": 60, "lr": 1.0, "bare_steps": 0}),
    ("lbfgs", {"optimiser": "lbfgs", "steps": 18, "bare_steps": 0}),
    ("lbfgs, bare first", {"optimiser": "lbfgs", "steps": 18, "bare_steps": 9}),
)
SHOWN = ("s", "es", "ps", "ns", "strict", "paraphrase", "neighbours", "others", "perplexity")


class Timed:
    """The project's own MEMIT, with the CPU time of its targets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, model: Any, tokenizer: Any, inputs: Any) -> MemitResult:
        began = ended = time.process_time()

        def progress(phase: str, done: int, total: int) -> None:
            nonlocal began, ended
            if phase == "targets":
                ended = time.process_time()

        def planned(expected: object) -> None:
            nonlocal began
            began = time.process_time()

        result = build(model, tokenizer, inputs, planned=planned, progress=progress)
        self.seconds = ended - began
        return result


def compare(
    model: Bench, settings: EditSettings, variants: int, edits: Sequence[int], seed: int
) -> list[dict[str, Any]]:
    """A row for each number of edits and each optimiser, of the edits that are drawn with `seed`."""
    rows = []
    for n in edits:
        drawn = model.counterfactuals(n, seed=seed)
        for name, chosen in CHOICES:
            timed = Timed()
            quality = model.judge(drawn, replace(settings, **chosen), variants=variants, editor=timed)
            rows.append(
                {
                    "n": n,
                    "seed": seed,
                    "optimiser": name,
                    "steps": chosen["steps"],
                    "cpu_seconds_targets": round(timed.seconds, 2),
                    **{key: round(getattr(quality, key), 4) for key in ("alone", *SHOWN)},
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    return rows


def averaged(rows: Sequence[dict[str, Any]], edits: Sequence[int]) -> list[dict[str, Any]]:
    """The means over draws: a row for each number of edits and optimiser."""
    found = []
    for n in edits:
        for name, chosen in CHOICES:
            own = [row for row in rows if (row["n"], row["optimiser"]) == (n, name)]
            means = {
                key: round(mean([row[key] for row in own]) or 0.0, 4 if key in SHOWN else 2)
                for key in ("cpu_seconds_targets", *SHOWN)
            }
            found.append({"n": n, "optimiser": name, "steps": chosen["steps"], **means})
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The averaged rows in Markdown."""
    names = ("n", "optimiser", "steps", "cpu_seconds_targets", *SHOWN)
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(str(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """S against the CPU seconds an edit."""
    with axes_of(path, width=6) as axes:
        for name, _ in CHOICES:
            own = [row for row in rows if row["optimiser"] == name]
            axes.plot(
                [row["cpu_seconds_targets"] / row["n"] for row in own],
                [row["s"] for row in own],
                "o-",
                label=name,
            )
            for row in own:
                at = row["cpu_seconds_targets"] / row["n"], row["s"]
                axes.annotate(f"n = {row['n']}", at, textcoords="offset points", xytext=(6, 6))
        axes.set_xlabel("CPU seconds of targets, an edit")
        axes.set_ylabel("S")
        axes.set_xlim(left=0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=DEMO / "model")
    parser.add_argument("--edits", type=int, nargs="+", default=EDITS)
    parser.add_argument("--draws", type=int, default=3, help="draws of edits that each row is a mean of")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings, variants = recommended(options.model)
    with tempfile.TemporaryDirectory() as cache:
        model, rows = bench(options.model, Path(cache)), list[dict[str, Any]]()
        model.judge(model.counterfactuals(1), settings)  # prefixes and statistics
        for seed in range(options.draws):
            rows += compare(model, settings, variants, options.edits, seed)
            _write(rows, options, {"settings": asdict(settings), "variants": variants})


def _write(rows: Sequence[dict[str, Any]], options: argparse.Namespace, chosen: dict[str, Any]) -> None:
    means = averaged(rows, options.edits)
    result = {"machine": "1 thread, CPU", **chosen, "means": means, "rows": rows}
    name = options.out / "testbed-optimisers"
    name.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    name.with_suffix(".md").write_text(table(means), encoding="utf-8")
    plot(means, name.with_suffix(".svg"))


if __name__ == "__main__":
    main()
