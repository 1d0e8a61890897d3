"""Builds on a Ray cluster of this machine, and a simulation of large ones: `python benchmarks/ray.py`.

The same first build (no δ cached) by one local worker, and by a cluster with one and with two actors, each in processes
of their own: how much of the time is work that a local worker also does, and how much the cluster adds.  What that says
of the driver calibrates `benchmarks/ray_simulation.py`, which then asks where a build of GPT-J-6B's shape stops scaling
on 8, 64 and 512 GPUs.  Writes a table, JSON and a plot under `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: its folder would shadow Ray itself
    sys.path.pop(0)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from transformers import AutoModelForCausalLM, GPTJConfig

from benchmarks.engine_cases import byte_bpe, edits, text
from benchmarks.incremental import Bench
from benchmarks.ray_simulation import Driver, Machine, Model, Times, simulated
from editing.memit.cost import block_flops, optimisation_flops
from editing.memit.groups import form_groups
from editing.model.architectures import locate_parts
from editing.settings import EditSettings
from editing.spec import BuildReport, BuildSpec

RESULTS = Path(__file__).parent / "results"
WORKERS = (1, 8, 64, 512)
FACTS = (10_000, 100_000, 1_000_000)
ASKED_TOKENS = 400
"""Tokens that the exam reads of a new fact, for base, candidate and live together: about 20 questions."""


def main() -> None:
    """Measure, simulate, print the tables, and write them with JSON and plot under `benchmarks/results/`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--facts", type=int, default=256, help="of the measured build")
    parser.add_argument(
        "--simulate", action="store_true", help="only simulate, with what an earlier run measured"
    )
    parser.add_argument("--name", default="ray", help="of the files under benchmarks/results")
    chosen = parser.parse_args()
    if chosen.simulate:
        before = json.loads((RESULTS / f"{chosen.name}.json").read_text(encoding="utf-8"))
        rows, driver = before["measured"], Driver(**before["driver"])
    else:
        with tempfile.TemporaryDirectory() as scratch:
            bench = Bench(Path(scratch), chosen.facts)
            rows = [measured(bench, chosen.facts, workers) for workers in (0, 1, 2)]
        driver = calibrated(rows, chosen.facts)
    model, machine = gptj(), Machine()
    cells = [(facts, workers) for facts in FACTS for workers in WORKERS]
    times = {cell: simulated(*cell, model, machine, driver) for cell in cells}
    tables = f"{measured_table(rows)}\n\n{simulated_table(times)}\n"
    print(tables)
    result = {
        "measured": rows,
        "driver": asdict(driver),
        "model": asdict(model),
        "machine": asdict(machine),
        "simulated": [
            {"facts": facts, "gpus": gpus, "total_s": one.total, **asdict(one), "limit": one.limit}
            for (facts, gpus), one in times.items()
        ],
        "torch": torch.__version__,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{chosen.name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (RESULTS / f"{chosen.name}.md").write_text(tables, encoding="utf-8")
    plot(times, RESULTS / f"{chosen.name}.svg")


def measured(bench: Bench, facts: int, workers: int) -> dict[str, Any]:
    """One first build of `facts` facts: by a local worker (0), or on a cluster with so many actors."""
    name = f"ray-{workers}"
    directory = bench.root / name
    spec = BuildSpec(
        run=name,
        base=str(bench.base),
        base_digest=bench.digest,
        out=str(directory / "checkpoint"),
        cache=str(directory / "cache"),
        corpus=(str(bench.corpus),),
        heldout=str(bench.heldout),
        facts=tuple(bench.facts[:facts]),
        settings=bench.settings,
        device="cpu",
        threads=1,
    )
    directory.mkdir()
    path = directory / "spec.json"
    spec.write(path)
    print(f"{time.strftime('%H:%M:%S')} {name}: {facts} facts …", file=sys.stderr, flush=True)
    command = [
        sys.executable,
        "-m",
        *(("editing.cluster", f"--workers={workers}") if workers else ("editing.worker",)),
    ]
    started = time.perf_counter()
    done = subprocess.run(
        command,
        input=json.dumps({"spec": str(path)}) + "\n",
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        check=True,
    )
    seconds = time.perf_counter() - started
    last = json.loads(done.stdout.splitlines()[-1])
    if last["event"] != "report":
        raise SystemExit(f"the worker said {last}")
    return {"workers": workers, "wall_s": seconds, **phases(directory, BuildReport.read(Path(last["path"])))}


def phases(directory: Path, whole: BuildReport) -> dict[str, float]:
    """Seconds of the parts of a build, from the reports of its shares and of its whole round."""
    cost = whole.cost.seconds
    shares = {
        file.parent.name: BuildReport.read(file).cost.seconds
        for file in (directory / "shares").glob("*/report.json")
    }
    divided = {name: one for name, one in shares.items() if name.startswith(("statistics-", "residuals-"))}
    exams = [one for name, one in shares.items() if name.startswith("exam-")]
    files = [directory / "shares" / name for name in divided]
    begin = (directory / "shares" / "plan" / "report.json").stat().st_mtime if shares else 0.0
    ends = [(file / "report.json").stat().st_mtime for file in files]
    work = sum(one.get("targets", 0.0) + one.get("statistics", 0.0) for one in divided.values())
    return {
        "work_s": work or cost.get("targets", 0.0) + cost.get("statistics", 0.0),
        "plan_s": shares["plan"]["total"] if shares else 0.0,
        "shares_wall_s": max(ends) - begin if ends else 0.0,
        "shares_busy_s": sum(one["total"] for one in divided.values()),
        "prepare_s": sum(one.get("tokens", 0.0) for one in divided.values()),
        "tasks": float(len(divided)),
        "whole_s": cost["total"],
        "keys_s": cost.get("keys", 0.0) + sum(one.get("keys", 0.0) for one in shares.values()),
        "exam_s": cost.get("judge", 0.0) + sum(one["total"] for one in exams),
    }


def calibrated(rows: Sequence[dict[str, Any]], facts: int) -> Driver:
    """What the cluster adds, from the build with one actor: everything that its shares did besides their work."""
    _, one, _ = rows
    idle = max(0.0, one["shares_wall_s"] - one["shares_busy_s"])
    besides = one["shares_busy_s"] - one["work_s"] - one["prepare_s"]
    return Driver(
        prepare_s=one["prepare_s"] / one["tasks"] / facts,
        task_s=(besides + idle) / one["tasks"],
        round_s=one["plan_s"],
    )


def gptj() -> Model:
    """GPT-J-6B's shape, counted without its weights, with the paper's layers and usual lengths of facts."""
    settings = EditSettings(layers=(3, 4, 5, 6, 7, 8), stop_loss=-1.0)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(GPTJConfig(), dtype=torch.bfloat16)
    parts, tokenizer = locate_parts(model), byte_bpe(text(200))
    count = 100
    prefixes = tuple("The quick brown fox jumps over the dog" for _ in range(settings.prefixes))
    groups = form_groups(tokenizer, edits(count), prefixes=prefixes, kl_prompts={}, identity={})
    blocks = [block_flops(block) for block in parts.blocks]
    top = settings.layers[-1]
    read = sum(len(ids) for group in groups for ids in group.contexts) / count
    resumed = sum(sum(blocks[layer : top + 1]) for layer in settings.layers[:-1])
    d_k, columns = parts.key_width(top), len(groups[0].contexts) if settings.keys == "all" else 1
    below = sum(blocks[: top + 1])
    sample = settings.statistics_samples * 100
    return Model(
        bytes=2.0 * sum(weight.numel() for weight in model.parameters()),
        target_flops=optimisation_flops(parts, groups, top, settings.steps) / count,
        key_flops=read * (sum(blocks[: top + 1]) + resumed),
        layer_flops=read * sum(blocks[: top + 1]),
        column_bytes=4.0 * columns * (d_k + parts.width),
        exam_flops=ASKED_TOKENS * float(sum(blocks)),
        d_k=d_k,
        layers=len(settings.layers),
        columns=columns,
        statistics_flops=sample * (below + 2.0 * d_k**2 * len(settings.layers)),
    )


def measured_table(rows: Sequence[dict[str, Any]]) -> str:
    """The measured builds, a row each."""
    lines = [
        "| build | seconds in all | work (δs, statistics) | preparing shares | rest of shares | waiting for shares | "
        "plan | whole round | start and end |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        name = (
            f"{row['workers']} actor{'s' if row['workers'] > 1 else ''}" if row["workers"] else "local worker"
        )
        besides = row["shares_busy_s"] - row["work_s"] - row["prepare_s"] if row["workers"] else 0.0
        idle = row["shares_wall_s"] * max(1, row["workers"]) - row["shares_busy_s"]
        rest = row["wall_s"] - row["plan_s"] - row["shares_wall_s"] - row["whole_s"]
        values = (
            row["wall_s"],
            row["work_s"],
            row["prepare_s"],
            besides,
            idle,
            row["plan_s"],
            row["whole_s"],
            rest,
        )
        lines.append(f"| {name} | {' | '.join(f'{value:.1f}' for value in values)} |")
    return "\n".join(lines)


def simulated_table(times: dict[tuple[int, int], Times]) -> str:
    """Minutes, speed-up over one GPU, and what limits it."""
    lines = [
        "| facts | GPUs | minutes | times faster | efficiency | shares | undivided | longest phase |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (facts, gpus), one in times.items():
        faster = times[facts, 1].total / one.total
        undivided = sum(one.undivided.values())
        lines.append(
            f"| {facts:,} | {gpus} | {one.total / 60:.1f} | {faster:.1f} | {faster / gpus:.0%} "
            f"| {one.shares / 60:.1f} | {undivided / 60:.1f} | {one.limit} |"
        )
    return "\n".join(lines)


def plot(times: dict[tuple[int, int], Times], path: Path) -> None:
    """Speed-up over GPUs for each number of facts, and the phases of the largest clusters."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (speed, parts) = pyplot.subplots(1, 2, figsize=(11, 4))
    for facts in FACTS:
        faster = [times[facts, 1].total / times[facts, gpus].total for gpus in WORKERS]
        speed.plot(WORKERS, faster, "o-", label=f"{facts:,} facts")
    speed.plot(WORKERS, WORKERS, ":", color="grey", label="ideal")
    speed.set(xscale="log", yscale="log", xlabel="GPUs", ylabel="times faster than one GPU")
    speed.set_xticks(WORKERS, [str(gpus) for gpus in WORKERS])
    speed.legend(fontsize=8)
    cells = [(facts, gpus) for facts in FACTS for gpus in WORKERS[1:]]
    bottom = [0.0] * len(cells)
    for name in next(iter(times.values())).phases:
        phases = [times[cell].phases for cell in cells]
        share = [one[name] / sum(one.values()) for one in phases]
        parts.bar(range(len(cells)), share, bottom=bottom, label=name)
        bottom = [low + more for low, more in zip(bottom, share, strict=True)]
    names = [f"{facts // 1000}k\n{gpus}" for facts, gpus in cells]
    parts.set_xticks(range(len(cells)), names, fontsize=7)
    parts.set(xlabel="facts, GPUs", ylabel="share of the build's time")
    parts.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
