"""Where is a fact read?  Causal tracing of a model's own knowledge, as a table, JSON and a plot.

    python benchmarks/tracing.py [--model DIR] [--facts FILE] [--limit N] [--samples N] [--out DIR]

By default the demo's model and facts of its world.  The figures are those of MEMIT's Appendix A: what a
restored state (or a window of MLP or attention outputs) recovers of P[o], by layer and token; and, at
the subject's last token, what is left of that with the MLPs or the attention severed above.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from editing.datasets import read_records
from editing.models import load_model, load_tokenizer
from editing.requests import EditRequest
from editing.tracing import ROLES, TraceResult, trace

DEMO = Path(__file__).parents[1] / "kbsync" / "demo" / "model"


def demo_facts() -> list[EditRequest]:
    """What the demo's world held on its first day, in a seeded random order."""
    from kbsync.demo.world import load

    world = load()
    facts = [
        EditRequest(
            f"{fact.subject} {fact.relation}",
            world.wordings[fact.relation].templates[0],
            world.label(fact.subject),
            world.label(fact.object),
        )
        for fact in world.at(date(2021, 1, 1))
    ]
    random.Random(0).shuffle(facts)
    return facts


def table(result: TraceResult) -> str:
    """The severed effects by layer, and R."""
    lines = [
        f"{result.facts} facts, P[o] clean {result.clean:.3f}, corrupted {result.corrupted:.3f}",
        "effect of one restored state at the subject's last token, by what is severed above:",
        "layer   nothing      MLPs  attention   cost of severing the MLPs",
    ]
    severed, costs = result.severed, result.cost_of_severing()
    for layer, cost in enumerate(costs):
        cells = f"{severed['nothing'][layer]:9.3f} {severed['mlp'][layer]:9.3f} {severed['attention'][layer]:10.3f}"
        lines.append(f"{layer:5d} {cells}   {cost:9.3f}")
    lines.append(f"R, of two layers: {result.suggested_layers(2)}; of five: {result.suggested_layers(5)}")
    return "\n".join(lines)


def plot(result: TraceResult, file: Path) -> None:
    """Three heat maps (layer by token role) and the curves of Figure 3, as an image."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 4, figsize=(18, 4.5), layout="constrained")
    values = [v for rows in result.effects.values() for row in rows for v in row if v is not None]
    for axis, (kind, rows) in zip(axes, result.effects.items(), strict=False):
        cells = [[float("nan") if v is None else v for v in column] for column in zip(*rows, strict=True)]
        image = axis.imshow(cells, aspect="auto", cmap="Purples", vmin=0, vmax=max(values))
        axis.set_title(f"restored: {kind}")
        axis.set_xlabel("layer")
        axis.set_xticks(range(len(rows)))
        axis.set_yticks(range(len(ROLES)), ROLES if kind == "state" else [""] * len(ROLES))
    figure.colorbar(image, ax=axes[:3], label="recovered P[o]")
    for name, curve in result.severed.items():
        axes[3].plot(curve, marker="o", label=f"{name} severed")
    axes[3].set_title("state at the subject's last token")
    axes[3].set_xlabel("layer")
    axes[3].set_xticks(range(len(result.severed["nothing"])))
    axes[3].set_ylabel("recovered P[o]")
    axes[3].legend()
    figure.savefig(file, dpi=120)
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=DEMO)
    parser.add_argument("--facts", type=Path, help="lines, CounterFact or zsRE (default: the demo's world)")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--window", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args(arguments)
    facts = [r.request for r in read_records(options.facts)] if options.facts else demo_facts()
    model, tokenizer = load_model(options.model), load_tokenizer(options.model)

    def progress(_: str, done: int, total: int) -> None:
        print(f"\r{done} of {total} facts", end="" if done < total else "\n", file=sys.stderr, flush=True)

    result = trace(
        model,
        tokenizer,
        facts[: options.limit],
        samples=options.samples,
        window=options.window,
        progress=progress,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    written: dict[str, Any] = {"roles": ROLES, **asdict(result)}
    (options.out / "tracing.json").write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    plot(result, options.out / "tracing.svg")
    text = table(result)
    (options.out / "tracing.md").write_text(f"# Where facts are read\n\n```\n{text}\n```\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
