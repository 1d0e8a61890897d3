"""The engine beside the serial algorithm, in one run: `python benchmarks/engine.py [--quick] [--profile]`.

For each model and number of edits: seconds an edit both ways, their ratio, the ratio that counting
FLOPs allows, and which fraction of the machine's measured matrix rate the engine's floor reaches.
Times are the whole build: targets, keys and solves; statistics are made beforehand for both.
`rebuild_s` is the same build again with every δ cached: what grows with the view, not the change.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.engine_cases import Shape, byte_bpe, edits, load, shapes, text
from benchmarks.engine_serial import SerialMemit, wall
from editing.editors.contract import BuildInputs
from editing.memit.build import build
from editing.memit.cost import matrix_rate, optimisation_flops
from editing.memit.groups import form_groups
from editing.memit.prefixes import context_prefixes
from editing.memit.statistics import Statistics
from editing.memit.targets import Optimisation
from editing.model.architectures import locate_parts
from editing.model.hooks import frozen, fused

RESULTS = Path(__file__).parent / "results"


def measure(shape: Shape, device: str, scratch: Path) -> list[dict[str, Any]]:
    """The rows of one model."""
    lines = text()
    corpus = scratch / "corpus.txt"
    corpus.write_text("\n".join(lines), encoding="utf-8")
    tokenizer, model = byte_bpe(lines), load(shape, device)
    parts, settings = locate_parts(model), shape.settings
    clock = wall(model.device)
    prefixes = context_prefixes(model, tokenizer, settings, base_digest=shape.name, cache=scratch)
    statistics = Statistics(
        model, tokenizer, settings, corpus=[corpus], base_digest=shape.name, cache=scratch
    )
    moments = statistics.compute(parts, settings.layers)
    for layer in settings.layers:
        moments.factor(layer)
    serial = SerialMemit(model, parts, settings, settings.layers)
    with frozen(model):
        groups = form_groups(
            tokenizer, edits(max(shape.edits)), prefixes=prefixes, kl_prompts={}, identity={}
        )
        serial.target(groups[0])  # warm up
        times = serial.run(groups[: shape.serial_edits], moments.load, clock)
    rate = matrix_rate(
        model.device, model.dtype, size=2048 if device == "cpu" else 8192, seconds=1.0, clock=clock
    )
    rows = []
    for n in shape.edits:
        requests = edits(n)
        ours = form_groups(tokenizer, requests, prefixes=prefixes, kl_prompts={}, identity={})
        with tempfile.TemporaryDirectory() as fresh:
            _share(scratch, Path(fresh))

            def built(fresh: str = fresh, requests: Any = requests) -> float:
                start = clock()
                inputs = BuildInputs(
                    requests, settings, cache=Path(fresh), base_digest=shape.name, corpus=[corpus]
                )
                build(model, tokenizer, inputs)
                return clock() - start

            seconds, again = built(), built()
        floor = optimisation_flops(parts, ours, settings.layers[-1], settings.steps)
        allowed = serial.flops(ours) * n / floor
        rows.append(
            {
                "model": shape.name,
                "n": n,
                "serial_s_per_edit": times.per_edit(n),
                "engine_s_per_edit": seconds / n,
                "ratio": times.per_edit(n) * n / seconds,
                "flop_ratio": allowed,
                "floor_fraction": floor / rate / (seconds - again),
                "targets_s": seconds - again,
                "rebuild_s": again,
                "gflops": rate / 1e9,
                "serial_edits": shape.serial_edits,
                "steps": settings.steps,
            }
        )
        print(_line(rows[-1]), flush=True)
    if torch.cuda.is_available():
        rows[-1]["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return rows


def profiled(shape: Shape, device: str, scratch: Path, updates: int = 3) -> str:
    """Where the time of the targets goes, operation by operation, over a few updates of the largest n."""
    lines = text()
    tokenizer, model = byte_bpe(lines), load(shape, device)
    parts, settings = locate_parts(model), replace(shape.settings, steps=updates + 1)
    with frozen(model), fused(model):
        prefixes = context_prefixes(model, tokenizer, settings, base_digest=shape.name, cache=scratch)
        groups = form_groups(
            tokenizer, edits(max(shape.edits)), prefixes=prefixes, kl_prompts={}, identity={}
        )
        optimisation = Optimisation(model, parts, groups, settings, settings.layers[-1])
        with torch.profiler.profile() as seen:
            optimisation.run(lambda group, delta: None)
    return str(seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=12))


def _share(source: Path, target: Path) -> None:
    """Give a fresh cache the prefixes and statistics, which both sides are given, but no δ."""
    for name in ("prefixes", "stats"):
        (target / name).symlink_to(source / name)


def _line(row: dict[str, Any]) -> str:
    return (
        f"| {row['model']} | {row['n']} | {row['serial_s_per_edit']:.3f} | {row['engine_s_per_edit']:.4f} "
        f"| {row['ratio']:.1f} | {row['flop_ratio']:.1f} | {row['floor_fraction']:.2f} |"
    )


HEADER = (
    "| model | n | serial s/edit | engine s/edit | ratio | FLOPs allow | fraction of the matrix rate |\n"
    "|---|---|---|---|---|---|---|"
)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Seconds an edit, both ways, over n."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == name]
        n = [row["n"] for row in mine]
        axes.plot(n, [row["serial_s_per_edit"] for row in mine], "o--", label=f"{name}: serial")
        axes.plot(n, [row["engine_s_per_edit"] for row in mine], "o-", label=f"{name}: engine")
    axes.set(xscale="log", yscale="log", xlabel="edits in one build", ylabel="seconds an edit")
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Measure, print the table, write it with its JSON and plot under `benchmarks/results/`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer edits and steps: under five minutes on 2 cores"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there as well")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (adds GPT-J-6B's shape)")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: torch's own)")
    parser.add_argument("--profile", action="store_true", help="only show where the targets' time goes")
    chosen = parser.parse_args()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    if chosen.profile:
        with tempfile.TemporaryDirectory() as scratch:
            first = shapes(quick=chosen.quick, device=chosen.device)[0]
            print(profiled(first, chosen.device, Path(scratch)))
        return
    print(HEADER, flush=True)
    rows: list[dict[str, Any]] = []
    started = time.perf_counter()
    for shape in shapes(quick=chosen.quick, device=chosen.device):
        with tempfile.TemporaryDirectory() as scratch:
            rows += measure(shape, chosen.device, Path(scratch))
    result = {
        "rows": rows,
        "device": torch.cuda.get_device_name() if chosen.device != "cpu" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "seconds": time.perf_counter() - started,
    }
    name = f"engine-{chosen.device}" + ("-quick" if chosen.quick else "")
    RESULTS.mkdir(exist_ok=True)
    targets = [RESULTS / f"{name}.json", *([chosen.json] if chosen.json else [])]
    for target in targets:
        target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (RESULTS / f"{name}.md").write_text("\n".join([HEADER, *map(_line, rows)]) + "\n", encoding="utf-8")
    plot(rows, RESULTS / f"{name}.svg")


if __name__ == "__main__":
    main()
