"""Do edits hold behind long texts if they are made behind long texts?

    python -m benchmarks.long_prefixes [--home DIR] [--json FILE] [--only NUMBER ...]

The edits of the demo's world (`gates_world.py`: what changed from 2021 to 2024) are built into the bundled model with
several sets of contexts.  Each model is asked the facts' own prompts behind 0 to 50 tokens of held-out text, next to
the measures of the gates; the base is asked the same about facts that it states.  Writes `long-prefixes.json`, `.md`
and `.svg` under benchmarks/results; with `--only`, the other rows of the file stay.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import harmonic_mean
from typing import Any

import torch

from benchmarks.gates import RESULTS, prepared
from benchmarks.gates_world import Exam
from editing.evaluation.metrics import strict_argmax, text_windows
from editing.model.tokens import in_context
from editing.model.weights import swapped
from editing.requests import render
from editing.spec import FactSpec
from kbsync.home import RunDirectory

LENGTHS = (0, 16, 32, 50)
"""Tokens of text before the prompt."""
BASE = "unedited base, facts that it states"
MEASURES = ("efficacy", "paraphrase", "neighbourhood", "same_subject", "perplexity_ratio")


@dataclass(frozen=True, slots=True)
class Contexts:
    """The contexts that edits are made behind, besides the bare prompt."""

    prefixes: int
    prefix_tokens: int
    long_prefixes: int = 0

    @property
    def name(self) -> str:
        short = f"{self.prefixes} of {self.prefix_tokens} tokens"
        return f"{short} and {self.long_prefixes} long" if self.long_prefixes else short


ROWS = (
    Contexts(2, 10),
    Contexts(3, 50),
    Contexts(2, 10, 1),
    Contexts(2, 10, 2),
    Contexts(2, 10, 4),
)


def measure(exam: Exam, contexts: Contexts) -> dict[str, Any]:
    """Build all edits behind these contexts, and ask what the model states."""
    settings = replace(
        exam.spec.settings,
        prefixes=contexts.prefixes,
        prefix_tokens=contexts.prefix_tokens,
        long_prefixes=contexts.long_prefixes,
    )
    edited = [replace(fact, in_live=False) for fact in (*exam.old, *exam.new)]
    cache = (
        exam.scratch / f"cache of {contexts.name}"
    )  # the statistics, and no δ: each row optimises all of them
    shutil.copytree(exam.spec.cache, cache, ignore=lambda *_: ["deltas"])
    began = time.process_time()
    report = exam.built([*exam.known, *edited], settings=settings, live=None, cache=str(cache))
    seconds = time.process_time() - began
    figures = {
        one.name: one.value for one in report.measures if one.name in MEASURES and one.value is not None
    }
    with swapped(exam.model, exam.tensors_of(report)):
        held = curve(exam, edited)
    return {
        "contexts": contexts.name,
        "cpu_seconds": round(seconds, 1),
        "optimised": report.cost.groups_optimised,
        "held": held,
        "S": round(harmonic_mean([figures[name] for name in MEASURES[:3]]), 4),
        **{name: round(value, 4) for name, value in figures.items()},
    }


def curve(exam: Exam, facts: Sequence[FactSpec]) -> dict[str, float]:
    """Tokens before the prompt → share of `facts` whose object is the strict argmax behind them."""
    heldout = Path(exam.spec.heldout or "")
    windows = [one[0].tolist() for one in text_windows(exam.model, exam.tokenizer, heldout, tokens=6_000)]
    return {str(length): _held(exam, facts, windows, length) for length in LENGTHS}


def _held(exam: Exam, facts: Sequence[FactSpec], windows: Sequence[Sequence[int]], length: int) -> float:
    pairs = []
    for number, fact in enumerate(facts):
        ids = windows[number % len(windows)][:length]
        text = " ".join(exam.tokenizer.decode(ids, skip_special_tokens=True).split())
        pairs.append((in_context(text, render(fact.prompt, fact.subject)), fact.target))
    found = strict_argmax(exam.model, exam.tokenizer, pairs)
    return round(sum(found) / len(found), 4)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows in Markdown."""
    heads = [f"{length} tokens" for length in LENGTHS]
    columns = ["S", "paraphrase", "neighbourhood", "same_subject", "perplexity_ratio"]
    lines = [
        "| contexts of an edit | " + " | ".join([*heads, *columns, "CPU time"]) + " |",
        "|---|" + "---|" * (len(heads) + len(columns) + 1),
    ]
    for row in rows:
        held = [f"{row['held'][str(length)]:.0%}" for length in LENGTHS]
        figures = [f"{row[name]:.3f}" if name in row else "" for name in columns]
        seconds = f"{row['cpu_seconds']:.0f} s" if "cpu_seconds" in row else ""
        lines.append("| " + " | ".join([row["contexts"], *held, *figures, seconds]) + " |")
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The share of edits that hold, by the length of the text before them."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    for row in rows:
        style = "o-" if "S" in row else "k--"
        axes.plot(LENGTHS, [row["held"][str(length)] for length in LENGTHS], style, label=row["contexts"])
    axes.set_xlabel("tokens of other text before the prompt")
    axes.set_ylabel("facts that are the strict argmax")
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.3)
    axes.legend(title="contexts of an edit", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def write(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    found = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, 1 thread, torch {torch.__version__}",
        "rows": rows,
    }
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    file.with_suffix(".md").write_text(table(rows), encoding="utf-8")
    plot(rows, file.with_suffix(".svg"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, help="keep the home here, and use it again")
    parser.add_argument("--json", type=Path, default=RESULTS / "long-prefixes.json")
    parser.add_argument("--only", nargs="*", type=int, help="only these rows, counted from 0")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, Any] = {}
    if options.only is not None and options.json.exists():
        rows = {row["contexts"]: row for row in json.loads(options.json.read_text(encoding="utf-8"))["rows"]}
    with tempfile.TemporaryDirectory(prefix="kbsync-long-prefixes-") as scratch:
        exam = Exam(RunDirectory(prepared(options.home or Path(scratch) / "world")), Path(scratch))
        rows[BASE] = {"contexts": BASE, "held": curve(exam, exam.known[:200])}
        for number, contexts in enumerate(ROWS):
            if options.only is None or number in options.only:
                rows[contexts.name] = measure(exam, contexts)
                print(json.dumps(rows[contexts.name]), flush=True)
    order = [*(contexts.name for contexts in ROWS), BASE]
    write([rows[name] for name in order if name in rows], options.json)


if __name__ == "__main__":
    main()
