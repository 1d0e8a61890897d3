"""What edits cost on one GPU at GPT-J-6B's shape: `python benchmarks/gpu.py [--edits 1000 10000]`.

A first build (no δ and no statistics cached) with random weights of that shape in bf16: seconds an edit and of each
phase, the share of the GPU's measured matrix rate that the optimisation's floor reaches, and peak memory.  The aim is
10,000 edits in under 15 minutes on one H100; the paper's took 7.44 hours on an A6000.  `--shape tiny` tries the script
without a GPU.  Writes a table and JSON under `benchmarks/results/`, named after the device.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPTJConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.engine_cases import Shape, byte_bpe, edits, load, text
from editing.editors.contract import BuildInputs
from editing.memit.build import build
from editing.memit.cost import matrix_rate, optimisation_flops
from editing.memit.groups import form_groups
from editing.memit.prefixes import context_prefixes
from editing.model.architectures import locate_parts
from editing.preflight import gib
from editing.settings import EditSettings

RESULTS = Path(__file__).parent / "results"
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
    """Measure, print the table, and write it with its JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="gptj")
    parser.add_argument("--edits", type=int, nargs="+", metavar="N")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("needs a CUDA device; `--shape tiny --device cpu` tries the script without one")
    shape = SHAPES[chosen.shape]
    with tempfile.TemporaryDirectory() as scratch:
        rows = measured(shape, chosen.device, chosen.edits or shape.edits, Path(scratch))
    device = torch.cuda.get_device_name() if chosen.device == "cuda" else chosen.device
    table = render(rows)
    print(f"{shape.name} on {device}\n\n{table}")
    name = "gpu-" + re.sub(r"[^a-z0-9]+", "-", f"{chosen.shape} {device}".lower()).strip("-")
    result = {"shape": shape.name, "device": device, "torch": torch.__version__, "rows": rows}
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (chosen.out / f"{name}.md").write_text(table + "\n", encoding="utf-8")


def measured(
    shape: Shape, device: str, counts: list[int] | tuple[int, ...], scratch: Path
) -> list[dict[str, Any]]:
    """One row for each number of edits; statistics are computed by the first build, and reused."""
    lines = text()
    corpus = scratch / "corpus.txt"
    corpus.write_text("\n".join(lines), encoding="utf-8")
    tokenizer, model = byte_bpe(lines), load(shape, device)
    rate = matrix_rate(model.device, model.dtype, size=8192 if device == "cuda" else 512, seconds=1.0)
    return [row(shape, model, tokenizer, count, rate, scratch) for count in counts]


def row(shape: Shape, model: Any, tokenizer: Any, count: int, rate: float, scratch: Path) -> dict[str, Any]:
    """One build of `count` edits whose δs are not cached."""
    cache = scratch / f"cache-{count}"
    cache.mkdir()
    stats = scratch / "stats"
    stats.mkdir(exist_ok=True)
    (cache / "stats").symlink_to(stats)
    requests = edits(count)
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    inputs = BuildInputs(
        requests, shape.settings, cache=cache, base_digest=shape.name, corpus=[scratch / "corpus.txt"]
    )
    built = build(model, tokenizer, inputs)
    seconds = time.perf_counter() - started
    prefixes = context_prefixes(model, tokenizer, shape.settings, base_digest=shape.name, cache=cache)
    groups = form_groups(tokenizer, requests, prefixes=prefixes, kl_prompts={}, identity={})
    parts = locate_parts(model)
    floor = optimisation_flops(parts, groups, shape.settings.layers[-1], shape.settings.steps)
    phases = built.cost.seconds
    return {
        "edits": count,
        "seconds": seconds,
        "seconds_per_edit": (seconds - phases["statistics"]) / count,
        "phases": dict(phases),
        "tflops_matrix": rate / 1e12,
        "share_of_matrix_rate": floor / rate / phases["targets"],
        "peak_bytes": torch.cuda.max_memory_allocated() if model.device.type == "cuda" else 0,
        "expected_bytes": built.cost.preflight.bytes if built.cost.preflight else 0,
    }


def render(rows: list[dict[str, Any]]) -> str:
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
