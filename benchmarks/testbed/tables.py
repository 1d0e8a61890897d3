"""The testbed's tables: `python -m benchmarks.testbed.tables recall|n|serial|settings|statistics`.

    recall       what the model knows, and causal tracing at the subject's last token
    n            quality for 1, 10, 30, 100 and 300 counterfactual edits, and for the world's real changes
    serial       the engine beside the serial algorithm, the same edits and settings, averaged keys
    settings     the same over layers, λ, clamp, keys and wordings, one thing varied at a time
    statistics   S against the number of statistics samples

Each writes a JSON file under benchmarks/results; `n` and `statistics` draw a plot beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.testbed.drawing import axes_of
from benchmarks.testbed.quality import Bench, Edit, Quality, row
from benchmarks.testbed.serial import serial_build
from benchmarks.testbed.worlds import demo_world, real_changes
from editing.memit.build import build
from editing.requests import EditRequest
from editing.settings import EditSettings
from editing.tracing.trace import TraceSettings, trace

DEMO = Path(__file__).parents[2] / "kbsync" / "demo"
RESULTS = Path(__file__).parents[1] / "results"
DRAWS = {1: 5, 10: 2, 30: 1, 100: 1, 300: 1}
"""Numbers of edits, and how many draws of edits are averaged for each."""
SAMPLES = (5, 10, 25, 50, 100, 250, 500, 1000)
VARIATIONS: dict[str, tuple[Any, ...]] = {
    "lam": (1.0, 20.0, 100.0, 500.0, 2_000.0, 15_000.0),
    "keys": ("average",),
    "layers": ((0,), (1,), (0, 1, 2)),
    "clamp": (0.5, 0.75, 1.0),
    "kl": (0.0625, 1.0),
    "steps": (25,),
    "prefixes": (0, 5),
    "variants": (0, 2),
}
TRACED = 100


def recommended(model: Path) -> tuple[EditSettings, int]:
    """The settings that travel with the model, and how many further wordings are edited with."""
    values = json.loads((model / "kbsync-edit.json").read_text(encoding="utf-8"))
    variants = values.pop("variants")
    return EditSettings(**values | {"layers": tuple(values["layers"])}), variants


def bench(directory: Path, cache: Path) -> Bench:
    """The model in `directory` with the demo's world and texts."""
    model = AutoModelForCausalLM.from_pretrained(directory).eval()
    return Bench(
        model, AutoTokenizer.from_pretrained(directory), demo_world(), corpus=[DEMO / "text" / "corpus.txt"],
        heldout=(DEMO / "text" / "heldout.txt").read_text(encoding="utf-8").splitlines(),
        digest=hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest(), cache=cache,
    )  # fmt: skip


def recall(bench: Bench) -> list[dict[str, Any]]:
    """Recall of every wording, and the trace of known facts."""
    world = bench.world
    later = [bench.case(f, t) for f in world.facts for t in range(1, len(world.templates[f[1]]))]
    right = bench.states(later)
    some = bench.known[:: max(1, len(bench.known) // TRACED)]
    requests = [EditRequest(f"{f[0]}|{f[1]}", world.templates[f[1]][0], f[0], f[2]) for f in some]
    return [
        {
            "facts": len(world.facts),
            "recall": len(bench.known) / len(world.facts),
            "recall_of_other_wordings": sum(right) / len(right),
            "perplexity": bench.perplexity,
            "trace": asdict(
                trace(bench.model, bench.tokenizer, requests, TraceSettings(samples=5, window=1))
            ),
        }
    ]


def by_number(bench: Bench, settings: EditSettings, variants: int) -> list[dict[str, Any]]:
    """A row a number of edits, averaged over draws, and one for the real changes."""
    rows = []
    for n, draws in DRAWS.items():
        found = [
            bench.judge(bench.counterfactuals(n, seed), settings, variants=variants) for seed in range(draws)
        ]
        rows.append(_said({"edits": "counterfactual", "draws": draws} | _mean(found)))
    real = bench.judge(real_changes(bench.world), settings, variants=variants)
    return [*rows, _said(row(real, edits="real", draws=1))]


def beside_serial(bench: Bench, settings: EditSettings) -> list[dict[str, Any]]:
    """Two rows a number of edits: one wording, and the averaged keys that the serial algorithm has."""
    averaged = replace(settings, keys="average")
    rows = []
    for n in DRAWS:
        edits = bench.counterfactuals(n)
        for name, editor in (("engine", build), ("serial", serial_build)):
            rows.append(_said(row(bench.judge(edits, averaged, editor=editor), editor=name)))
    return rows


def by_settings(
    bench: Bench, settings: EditSettings, variants: int, edits: Sequence[Edit]
) -> list[dict[str, Any]]:
    """The settings, and each variation of one of them."""
    rows = [_said(row(bench.judge(edits, settings, variants=variants), varied="none", value=""))]
    for name, values in VARIATIONS.items():
        for value in values:
            if name == "variants":
                quality = bench.judge(edits, settings, variants=value)
            else:
                quality = bench.judge(edits, replace(settings, **{name: value}), variants=variants)
            rows.append(_said(row(quality, varied=name, value=value)))
    return rows


def by_samples(bench: Bench, settings: EditSettings, variants: int, n: int = 100) -> list[dict[str, Any]]:
    """S of `n` edits against the number of statistics samples."""
    edits = bench.counterfactuals(n)
    return [
        _said(
            row(
                bench.judge(edits, replace(settings, statistics_samples=count), variants=variants),
                samples=count,
            )
        )
        for count in SAMPLES
    ]


def _mean(found: Sequence[Quality]) -> dict[str, Any]:
    """Of each figure, over draws; one that is not a number in a draw (nothing to ask) is left out there."""
    rows = [asdict(quality) for quality in found]
    means = {}
    for name in rows[0]:
        values = [r[name] for r in rows if r[name] == r[name]]
        means[name] = round(sum(values) / len(values), 4) if values else None
    return means


def _said(line: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps(line, ensure_ascii=False), flush=True)
    return line


def plot(rows: Sequence[dict[str, Any]], x: str, path: Path) -> None:
    """S, its three parts and the untouched facts against `x`."""
    with axes_of(path, width=7) as axes:
        for name in ("s", "es", "ps", "ns", "strict", "others"):
            axes.plot([r[x] for r in rows], [r[name] for r in rows], marker="o", label=name)
        axes.set_xscale("log")
        axes.set_xlabel({"n": "edits at once", "samples": "statistics samples (lines of corpus.txt)"}[x])
        axes.set_ylim(0, 1.02)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=("recall", "n", "serial", "settings", "statistics"))
    parser.add_argument("--model", type=Path, default=DEMO / "model")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as cache:
        model = bench(options.model, Path(cache))
        settings, variants = recommended(options.model)
        if options.table == "recall":
            rows = [_said(line) for line in recall(model)]
        elif options.table == "n":
            rows = by_number(model, settings, variants)
            plot([r for r in rows if r["edits"] == "counterfactual"], "n", options.out / "testbed-n.svg")
        elif options.table == "serial":
            rows = beside_serial(model, settings)
        elif options.table == "settings":
            rows = by_settings(model, settings, variants, real_changes(model.world))
        else:
            rows = by_samples(model, settings, variants)
            plot(rows, "samples", options.out / "testbed-statistics.svg")
    result = {
        "machine": f"{options.threads} threads, CPU",
        "settings": asdict(settings),
        "variants": variants,
    }
    text = json.dumps(result | {"rows": rows}, ensure_ascii=False, indent=1)
    (options.out / f"testbed-{options.table}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
