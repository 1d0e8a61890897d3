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
from datetime import date
from pathlib import Path

from editing.datasets import read_records
from editing.model.loading import load_model, load_tokenizer
from editing.requests import EditRequest
from editing.tracing.report import as_json, plot, table
from editing.tracing.trace import TraceSettings, trace

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
        TraceSettings(samples=options.samples, window=options.window),
        progress=progress,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    written = json.dumps(as_json(result), indent=1) + "\n"
    (options.out / "tracing.json").write_text(written, encoding="utf-8")
    plot(result, options.out / "tracing.svg")
    text = table(result)
    (options.out / "tracing.md").write_text(f"# Where facts are read\n\n```\n{text}\n```\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
