"""The engine with L-BFGS beside the serial algorithm with Adam at equal quality: `python -m benchmarks.engine_quality`.

Optimisers that need different numbers of steps can only be compared by what comes out: 256 counterfactual edits of the
bundled model with its settings, by 60 steps of Adam or 18 of L-BFGS (all in every context, or half of them without a
prefix), are judged.  The serial algorithm computes what
the engine computes with Adam (benchmarks/testbed/README.md), so the row of Adam has its quality too.

GPT-2 medium's shape has random weights, so that nothing but the loss of its targets can be compared.  One model may be
measured by itself (`--model`); the rows of the other then stay as they are.

One thread; seconds are CPU seconds of whole builds (targets, keys, solves); statistics and prefixes are made before,
for both.  `FLOPs allow` is the ratio that counting allows to Adam's plan in the engine (`engine.py`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.engine_cases import byte_bpe, edits, load, shapes, text
from benchmarks.engine_serial import SerialMemit, SerialRun
from benchmarks.testbed.tables import DEMO, RESULTS, bench, recommended
from editing.editors.contract import BuildInputs
from editing.memit.build import MemitResult, build
from editing.memit.cost import optimisation_flops
from editing.memit.groups import Group, form_groups
from editing.memit.prefixes import context_prefixes
from editing.memit.statistics import Statistics
from editing.model.architectures import locate_parts
from editing.model.hooks import frozen

ADAM: dict[str, Any] = {"optimiser": "adam", "steps": 60, "lr": 1.0, "bare_steps": 0}
LBFGS: dict[str, Any] = {"optimiser": "lbfgs", "steps": 18, "bare_steps": 0}
BARE_FIRST = LBFGS | {"bare_steps": 9}
MEDIUM: tuple[dict[str, Any], ...] = (ADAM | {"steps": 25, "lr": 0.5}, LBFGS)
MEDIUM_EDITS, MEDIUM_SERIAL = 64, 2
"""Edits of the engine and of the serial algorithm, which takes most of a minute for each."""
QUALITY = ("s", "es", "ps", "ns", "strict", "neighbours", "others", "perplexity")


class Timed:
    """The engine, with the CPU seconds of its targets and of all the rest."""

    def __init__(self) -> None:
        self.targets = self.rest = self.loss = 0.0

    def __call__(self, model: Any, tokenizer: Any, inputs: BuildInputs) -> MemitResult:
        marks: list[float] = []

        def progress(phase: str, done: int, total: int) -> None:
            if phase == "targets" and done == total:
                marks.append(time.process_time())

        began = time.process_time()
        result = build(model, tokenizer, inputs, progress=progress)
        ended = time.process_time()
        self.targets, self.rest = marks[-1] - began, ended - marks[-1]
        self.loss = sum(delta.loss for delta in result.deltas.values()) / len(result.deltas)
        return result


def groups_of(model: Any, tokenizer: Any, inputs: BuildInputs) -> list[Group]:
    settings = inputs.settings
    prefixes = context_prefixes(
        model, tokenizer, settings, base_digest=inputs.base_digest, cache=inputs.cache
    )
    return form_groups(
        tokenizer, inputs.requests, prefixes=prefixes, kl_prompts=inputs.kl_prompts, identity={}
    )


def serial(model: Any, tokenizer: Any, inputs: BuildInputs, few: int) -> tuple[SerialRun, SerialMemit]:
    """The serial algorithm on the first `few` edits."""
    settings, parts = inputs.settings, locate_parts(model)
    statistics = Statistics(
        model,
        tokenizer,
        settings,
        corpus=inputs.corpus,
        base_digest=inputs.base_digest,
        cache=inputs.cache,
    )
    moments = statistics.compute(parts, settings.layers)
    algorithm = SerialMemit(model, parts, settings, settings.layers)
    with frozen(model):
        run = algorithm.run(groups_of(model, tokenizer, inputs)[:few], moments.load, time.process_time)
    return run, algorithm


def allowed(model: Any, tokenizer: Any, inputs: BuildInputs, algorithm: SerialMemit) -> float:
    """The ratio that counted FLOPs allow to Adam's plan."""
    groups, settings = groups_of(model, tokenizer, inputs), inputs.settings
    floor = optimisation_flops(locate_parts(model), groups, settings.layers[-1], settings.steps)
    return algorithm.flops(groups) * len(groups) / floor


def testbed(cache: Path, n: int, few: int) -> list[dict[str, Any]]:
    """Rows of the bundled model."""
    settings = replace(recommended(DEMO / "model")[0], keys="average", stop_loss=-1.0)
    bed = bench(DEMO / "model", cache)
    bed.judge(bed.counterfactuals(1, seed=1), settings)  # prefixes and statistics
    drawn = bed.counterfactuals(n)
    inputs = BuildInputs(
        bed.requests(drawn),
        replace(settings, **ADAM),
        cache=cache,
        base_digest=bed.digest,
        corpus=bed.corpus,
        kl_prompts=bed.kl_prompts(drawn),
    )
    run, algorithm = serial(bed.model, bed.tokenizer, inputs, few)
    flops = allowed(bed.model, bed.tokenizer, inputs, algorithm)
    rows = []
    for plan in (ADAM, LBFGS, BARE_FIRST):
        timed = Timed()
        quality = bed.judge(drawn, replace(settings, **plan), editor=timed)
        measured = {name: round(getattr(quality, name), 4) for name in QUALITY}
        rows.append(_row("testbed", n, plan, run.per_edit(n), timed) | {"flop_ratio": flops} | measured)
        print(json.dumps(rows[-1]), flush=True)
    return rows


def medium(cache: Path) -> list[dict[str, Any]]:
    """Rows of GPT-2 medium's shape."""
    shape = next(one for one in shapes(quick=False, device="cpu") if one.name.startswith("gpt2-medium"))
    lines = text()
    corpus = cache / "corpus.txt"
    corpus.write_text("\n".join(lines), encoding="utf-8")
    tokenizer, model = byte_bpe(lines), load(shape, "cpu")
    inputs = BuildInputs(
        edits(MEDIUM_EDITS),
        replace(shape.settings, **MEDIUM[0]),
        cache=cache,
        base_digest=shape.name,
        corpus=[corpus],
    )
    run, algorithm = serial(model, tokenizer, inputs, MEDIUM_SERIAL)
    flops = allowed(model, tokenizer, inputs, algorithm)
    rows = []
    for plan in MEDIUM:
        timed = Timed()
        timed(model, tokenizer, replace(inputs, settings=replace(shape.settings, **plan)))
        row = _row("gpt2-medium shape", MEDIUM_EDITS, plan, run.per_edit(MEDIUM_EDITS), timed)
        rows.append(row | {"flop_ratio": flops})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def _row(model: str, n: int, plan: dict[str, Any], serial_s: float, timed: Timed) -> dict[str, Any]:
    seconds = (timed.targets + timed.rest) / n
    return {
        "model": model,
        "n": n,
        **plan,
        "serial_s_per_edit": serial_s,
        "engine_s_per_edit": seconds,
        "targets_s_per_edit": timed.targets / n,
        "rest_s_per_edit": timed.rest / n,
        "ratio": serial_s / seconds,
        "loss": timed.loss,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = [
        "| model | n | engine | serial s/edit | engine s/edit (targets) | ratio | FLOPs allow Adam's plan | loss "
        "| S | ES | PS | NS | strict |",
        "|" + "---|" * 13,
    ]
    for row in rows:
        quality = " | ".join(f"{row[name]:.3f}" if name in row else "" for name in QUALITY[:5])
        lines.append(
            f"| {row['model']} | {row['n']} | {_named(row)} "
            f"| {row['serial_s_per_edit']:.3f} "
            f"| {row['engine_s_per_edit']:.4f} ({row['targets_s_per_edit']:.4f}) | {row['ratio']:.1f} "
            f"| {row['flop_ratio']:.1f} | {row['loss']:.3f} | {quality} |"
        )
    return "\n".join(lines) + "\n"


def _named(row: dict[str, Any]) -> str:
    bare = f", {row['bare_steps']} without a prefix" if row.get("bare_steps") else ""
    return f"{row['optimiser']}, {row['steps']} steps{bare}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edits", type=int, default=256)
    parser.add_argument("--serial", type=int, default=12, help="edits that the serial algorithm is timed on")
    parser.add_argument("--model", choices=("testbed", "medium"), action="append", help="default: both")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.model or ("testbed", "medium"):
        with tempfile.TemporaryDirectory() as cache:
            rows = (
                medium(Path(cache))
                if name == "medium"
                else testbed(Path(cache), options.edits, options.serial)
            )
        _write(rows, options.out)


def _write(rows: Sequence[dict[str, Any]], out: Path) -> None:
    """Write the rows beside those of other models that are there."""
    file = out / "engine-quality.json"
    there = json.loads(file.read_text("utf-8"))["rows"] if file.exists() else []
    other = [row for row in there if row["model"] != rows[0]["model"]]
    result = {"machine": "1 thread, CPU", "torch": torch.__version__, "rows": [*other, *rows]}
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    file.with_suffix(".md").write_text(table(result["rows"]), encoding="utf-8")


if __name__ == "__main__":
    main()
