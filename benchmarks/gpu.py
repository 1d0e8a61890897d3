"""What edits cost on one GPU at GPT-J-6B's shape: `python benchmarks/gpu.py [--edits 1000 10000] [--optimiser lbfgs]`.

A first build (no δ and no statistics cached) with random weights of that shape in bf16, and further ones that find the
statistics in the cache: seconds an edit and of each phase, the share of the GPU's measured matrix rate that the
optimisation's floor reaches, and peak memory.  The aim is 10,000 edits in under 15 minutes on one H100; the paper's
took 7.44 hours on an A6000.  `--within SECONDS` lowers the later counts to what fits.  `--shape tiny --device cpu`
tries the script without a GPU.  Writes table, JSON and plot under `benchmarks/results/` after every build.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import GPT2Config, GPTJConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.engine_cases import Shape, byte_bpe, edits, load, text
from editing.editors.contract import BuildInputs
from editing.memit.build import build
from editing.memit.cost import matrix_rate, optimisation_flops
from editing.memit.groups import form_groups
from editing.memit.prefixes import context_prefixes
from editing.memit.targets import RULES
from editing.model.architectures import locate_parts
from editing.preflight import gib
from editing.settings import EditSettings

RESULTS = Path(__file__).parent / "results"
LBFGS_STEPS = 18
"""Evaluations of L-BFGS that reach what 25 steps of Adam reach (docs/engine.md)."""
PHASES = {
    "tokens": ("texts and self-test", "#bbbbbb"),
    "targets": ("δs", "#0072b2"),
    "statistics": ("statistics", "#e69f00"),
    "keys": ("keys and solves", "#009e73"),
}
"""Phase → its name and colour in the plot."""
SHAPES = {
    "gptj": Shape(
        "gpt-j-6b shape",
        GPTJConfig(n_embd=4096, n_layer=28, n_head=16, rotary_dim=64),
        EditSettings(layers=(3, 4, 5, 6, 7, 8), lam=15_000.0, stop_loss=-1.0, statistics_samples=1000),
        (1_000, 10_000),
        0,
    ),
    "tiny": Shape(
        "a tiny shape",
        GPT2Config(n_embd=32, n_layer=3, n_head=2, n_positions=128, vocab_size=1200),
        EditSettings(layers=(0, 1), steps=3, lam=100.0, stop_loss=-1.0, statistics_samples=20),
        (4, 8),
        0,
    ),
}


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the table, and write it with its JSON and plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="gptj")
    parser.add_argument("--edits", type=int, nargs="+", metavar="N")
    parser.add_argument("--optimiser", choices=("adam", "lbfgs"), default="adam")
    parser.add_argument("--within", type=float, default=float("inf"), metavar="SECONDS")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("needs a CUDA device; `--shape tiny --device cpu` tries the script without one")
    shape = SHAPES[chosen.shape]
    steps = min(LBFGS_STEPS, shape.settings.steps) if chosen.optimiser == "lbfgs" else shape.settings.steps
    settings = replace(shape.settings, optimiser=chosen.optimiser, steps=steps)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(replace(shape, settings=settings), chosen.device, Path(scratch))
        for row in bench.rows(chosen.edits or shape.edits, chosen.within):
            rows.append(row)
            save(chosen.out, bench, rows)
    print(f"{shape.name} on {bench.device}, {chosen.optimiser}\n\n{render(rows)}")


class Bench:
    """The model with random weights, its tokenizer, and the statistics that the first build leaves behind."""

    def __init__(self, shape: Shape, device: str, scratch: Path) -> None:
        self.shape, self.scratch = shape, scratch
        self.device = torch.cuda.get_device_name() if device == "cuda" else device
        lines = text()
        self.corpus = scratch / "corpus.txt"
        self.corpus.write_text("\n".join(lines), encoding="utf-8")
        self.tokenizer, self.model = byte_bpe(lines), load(shape, device)
        size = 8192 if device == "cuda" else 512
        self.rate = matrix_rate(self.model.device, self.model.dtype, size=size, seconds=1.0)
        (scratch / "stats").mkdir()

    def rows(self, counts: Sequence[int], within: float) -> Iterator[dict[str, Any]]:
        """One row for each number of edits; later ones are lowered to what is left of `within` seconds."""
        began, row = time.perf_counter(), None
        for count in sorted(counts):
            left = within - (time.perf_counter() - began)
            if row is not None:
                fits = (left - row["phases"]["keys"]) / row["seconds_per_edit"]
                count = count if count <= fits else int(fits // 100 * 100)
            if count <= 0:
                return
            row = self.row(count)
            yield row

    def row(self, count: int) -> dict[str, Any]:
        """One build of `count` edits whose δs are not cached."""
        shape, model = self.shape, self.model
        cache = self.scratch / f"cache-{count}"
        cache.mkdir()
        (cache / "stats").symlink_to(self.scratch / "stats")
        requests = edits(count)
        if model.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        inputs = BuildInputs(
            requests, shape.settings, cache=cache, base_digest=shape.name, corpus=[self.corpus]
        )
        built = build(model, self.tokenizer, inputs, progress=_Progress(started))
        seconds = time.perf_counter() - started
        prefixes = context_prefixes(
            model, self.tokenizer, shape.settings, base_digest=shape.name, cache=cache
        )
        groups = form_groups(self.tokenizer, requests, prefixes=prefixes, kl_prompts={}, identity={})
        evaluations = RULES[shape.settings.optimiser].evaluations(shape.settings.steps)
        floor = optimisation_flops(locate_parts(model), groups, shape.settings.layers[-1], evaluations + 1)
        phases = built.cost.seconds
        return {
            "edits": count,
            "optimiser": shape.settings.optimiser,
            "evaluations": evaluations,
            "seconds": seconds,
            "seconds_per_edit": (seconds - phases["statistics"]) / count,
            "phases": dict(phases),
            "tflops_matrix": self.rate / 1e12,
            "share_of_matrix_rate": floor / self.rate / phases["targets"],
            "peak_bytes": torch.cuda.max_memory_allocated() if model.device.type == "cuda" else 0,
            "expected_bytes": built.cost.preflight.bytes if built.cost.preflight else 0,
        }


class _Progress:
    """Prints when a phase begins."""

    def __init__(self, started: float) -> None:
        self.started, self.phase = started, ""

    def __call__(self, phase: str, done: int, total: int) -> None:
        if phase != self.phase:
            self.phase = phase
            print(f"{time.perf_counter() - self.started:7.1f} s {phase}", file=sys.stderr, flush=True)


def save(out: Path, bench: Bench, rows: Sequence[dict[str, Any]]) -> None:
    """Write table, JSON and plot."""
    named = f"{bench.shape.config.model_type} {bench.shape.settings.optimiser} {bench.device}"
    name = "gpu-" + re.sub(r"[^a-z0-9]+", "-", named.lower()).strip("-")
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    result = {"shape": bench.shape.name, "device": bench.device, **versions, "rows": rows}
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (out / f"{name}.md").write_text(render(rows) + "\n", encoding="utf-8")
    plot(rows, f"{bench.shape.name}, {bench.device}", out / f"{name}.svg")


def plot(rows: Sequence[dict[str, Any]], title: str, file: Path) -> None:
    """The seconds of each phase, one bar for each number of edits."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 1.2 + 0.6 * len(rows)), layout="constrained")
    names = [f"{row['edits']:,} edits" for row in rows]
    left = [0.0] * len(rows)
    for phase, (label, colour) in PHASES.items():
        widths = [row["phases"].get(phase, 0.0) for row in rows]
        axis.barh(names, widths, left=left, label=label, color=colour)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axis.invert_yaxis()
    axis.set_xlabel("seconds")
    axis.set_title(title)
    axis.legend()
    figure.savefig(file)
    pyplot.close(figure)


def render(rows: Sequence[dict[str, Any]]) -> str:
    """A row for each number of edits."""
    lines = [
        "| edits | seconds | edits per second, without statistics | δs | statistics | keys and solves "
        "| share of the matrix rate | peak memory (expected) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in rows:
        phases = one["phases"]
        lines.append(
            f"| {one['edits']:,} | {one['seconds']:.0f} | {1 / one['seconds_per_edit']:.1f} | {phases['targets']:.1f} "
            f"| {phases['statistics']:.1f} | {phases['keys']:.1f} | {one['share_of_matrix_rate']:.2f} "
            f"| {gib(one['peak_bytes'])} ({gib(one['expected_bytes'])}) |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
