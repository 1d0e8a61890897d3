"""What a build costs as the view grows while the change does not: `python -m benchmarks.incremental`.

A view of N facts is live, every δ of it cached; 100 facts are new.  The real worker builds and judges
the whole, in a process of its own, for growing N, on a model of the testbed's shape with random
weights (cost only: cached δs are random, and no figure of quality is meant).  Printed is what each
phase took, what optimising all of the view's δs again would take (the measured cost of a new one, times
their number; the rest is the same), and the process's peak memory.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.engine_cases import OBJECTS, TEMPLATES, byte_bpe, load, names, shapes, text
from editing.memit.deltas import Delta, DeltaStore
from editing.memit.groups import form_groups, identity_of
from editing.memit.prefixes import context_prefixes
from editing.model.architectures import locate_parts
from editing.model.loading import load_model, load_tokenizer
from editing.model.tokens import tokenizer_digest
from editing.settings import EditSettings
from editing.spec import BuildReport, BuildSpec, Case, FactSpec
from editing.storage.base_import import import_base
from editing.storage.manifest import read_manifest
from editing.worker.screening import edit_requests, kl_prompts

RESULTS = Path(__file__).parent / "results"
PHASES = {
    "targets": "seconds_targets",
    "keys and solves": "seconds_keys",
    "tokens": "seconds_tokens",
    "checkpoint": "seconds_checkpoint",
    "gates": "seconds_judge",
}


def main() -> None:
    """Measure, print the table, write it with its JSON and plot under `benchmarks/results/`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--facts", type=int, nargs="+", default=[1_000, 3_000, 10_000], metavar="N")
    parser.add_argument("--new", type=int, default=100, metavar="N", help="facts whose δ is not cached")
    parser.add_argument("--name", default="incremental", help="of the files under benchmarks/results")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch), max(chosen.facts) + len(chosen.facts) * chosen.new)
        rows = [bench.row(count, chosen.new) for count in sorted(chosen.facts)]
    table = render(rows)
    print(table)
    result = {"rows": rows, "threads": torch.get_num_threads(), "torch": torch.__version__}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{chosen.name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (RESULTS / f"{chosen.name}.md").write_text(table + "\n", encoding="utf-8")
    plot(rows, RESULTS / f"{chosen.name}.svg")


class Bench:
    """A base, its corpus and facts, in a scratch directory."""

    def __init__(self, root: Path, facts: int) -> None:
        shape = shapes(quick=True, device="cpu")[0]
        self.root, self.cache = root, root / "cache"
        self.settings: EditSettings = shape.settings
        lines = text()
        self.corpus, self.heldout = root / "corpus.txt", root / "heldout.txt"
        self.corpus.write_text("\n".join(lines[:1000]), encoding="utf-8")
        self.heldout.write_text("\n".join(lines[1000:1100]), encoding="utf-8")
        model = load(shape, "cpu")
        model.save_pretrained(root / "source")
        byte_bpe(lines).save_pretrained(root / "source")
        parts = locate_parts(model)
        writers = [parts.weight_name(layer) for layer in range(len(parts.blocks))]
        self.digest, self.base = import_base(root / "source", root / "base", writers)
        self.facts = made_up(facts)
        self.unseen = list(self.facts)

    def row(self, count: int, new: int) -> dict[str, Any]:
        """Build a live checkpoint of `count` facts with cached δs, then one with `new` more."""
        changed, self.unseen = self.unseen[-new:], self.unseen[:-new]
        view = [*self.facts[:count], *changed]
        self.remember(view[:count])
        live = self.build(f"live-{count}", view[:count], None)
        told = self.build(
            f"next-{count}", [replace(fact, in_live=True) for fact in view[:count]] + changed, live
        )
        cost = told.cost.entries()
        again = cost["seconds_targets"] / new * (count + new)
        whole = cost["seconds_total"] - cost["seconds_targets"] + again
        assert cost["groups_optimised"] == new, cost
        row: dict[str, Any] = {
            "facts": count,
            "new": new,
            "total_s": cost["seconds_total"],
            "all_s": whole,
            "share": cost["seconds_total"] / whole,
            "peak_mib": cost["peak_memory_bytes"] / 2**20,
            "retention_asked": next(m.n for m in told.measures if m.name == "retention"),
        }
        return row | {name: cost.get(key, 0.0) for name, key in PHASES.items()}

    def remember(self, facts: Sequence[FactSpec]) -> None:
        """Put a δ of every fact's group into the cache, as earlier builds would have."""
        model, tokenizer = load_model(self.base, device="cpu"), load_tokenizer(self.base)
        prefixes = context_prefixes(
            model, tokenizer, self.settings, base_digest=self.digest, cache=self.cache
        )
        identity = identity_of(
            self.settings,
            base_digest=self.digest,
            tokenizer=tokenizer_digest(tokenizer),
            layer=self.settings.layers[-1],
            prefixes=prefixes,
        )
        requests = [request for fact in facts for request in edit_requests(fact)]
        groups = form_groups(
            tokenizer, requests, prefixes=prefixes, kl_prompts=kl_prompts(list(facts)), identity=identity
        )
        store, width = DeltaStore(self.cache / "deltas"), locate_parts(model).width
        draw = torch.Generator().manual_seed(0)
        for group in groups:
            if store.get(group.key) is None:
                value = 0.01 * torch.randn(width, generator=draw)
                store.put(group.key, Delta(value, 1.0, 1.0, self.settings.steps - 1))

    def build(self, name: str, facts: Sequence[FactSpec], live: BuildReport | None) -> BuildReport:
        """One round of a worker of its own."""
        spec = BuildSpec(
            run=name,
            base=str(self.base),
            base_digest=read_manifest(self.base).digest,
            out=str(self.root / "checkpoints" / name),
            cache=str(self.cache),
            corpus=(str(self.corpus),),
            heldout=str(self.heldout),
            facts=tuple(facts),
            settings=self.settings,
            live=live.checkpoint if live else None,
            device="cpu",
        )
        path = self.root / "runs" / name / "spec.json"
        path.parent.mkdir(parents=True)
        spec.write(path)
        print(f"{time.strftime('%H:%M:%S')} {name}: {len(facts)} facts …", file=sys.stderr, flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "editing.worker"],
            input=json.dumps({"spec": str(path)}) + "\n",
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
            check=True,
        )
        last = json.loads(done.stdout.splitlines()[-1])
        if last["event"] != "report":
            raise SystemExit(f"the worker said {last}")
        return BuildReport.read(Path(last["path"]))


def made_up(count: int) -> list[FactSpec]:
    """`count` facts about as many made-up subjects, with the probes that a source would give."""
    draw = random.Random(3)
    subjects = names(count, seed=4)
    facts = []
    for index, subject in enumerate(subjects):
        template, *others = draw.sample(TEMPLATES, 4)
        near = (subjects[(index + step) % count] for step in itertools.count(1))
        facts.append(
            FactSpec(
                id=str(index),
                prompt=template,
                subject=subject,
                target=draw.choice(OBJECTS),
                known=False,
                base_answer="",
                paraphrases=tuple(other.format(subject) for other in others[:2]),
                neighbours=tuple(Case(template.format(next(near))) for _ in range(5)),
                same_subject=tuple(Case(other.format(subject)) for other in others[2:]),
            )
        )
    return facts


def render(rows: Sequence[dict[str, Any]]) -> str:
    """Seconds of every phase, a column a view."""
    heads = [f"{row['facts']:,} + {row['new']}" for row in rows]
    lines = [f"| seconds | {' | '.join(heads)} |", "|---" * (len(rows) + 1) + "|"]

    def line(name: str, values: Sequence[str]) -> None:
        lines.append(f"| {name} | {' | '.join(values)} |")

    for phase in PHASES:
        line(phase, [f"{row[phase]:.1f}" for row in rows])
    line("the whole round", [f"{row['total_s']:.1f}" for row in rows])
    line("the same with no δ cached", [f"{row['all_s']:.1f}" for row in rows])
    line("share", [f"{row['share']:.3f}" for row in rows])
    line("facts asked for retention", [f"{row['retention_asked']:,}" for row in rows])
    line("peak memory, MiB", [f"{row['peak_mib']:.0f}" for row in rows])
    return "\n".join(lines)


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """The round and its phases over the size of the view."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    facts = [row["facts"] for row in rows]
    for name in ("all_s", "total_s", *PHASES):
        label = {"all_s": "no δ cached", "total_s": "the whole round"}.get(name, name)
        axes.plot(facts, [max(row[name], 1e-2) for row in rows], "o-", label=label)
    axes.set(xscale="log", yscale="log", xlabel="facts in live", ylabel="seconds")
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main()
