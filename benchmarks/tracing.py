"""Where is a fact read?  Causal tracing of a model's own knowledge, as tables, JSON and plots (MEMIT's Appendix A).

    python -m benchmarks.tracing [--model DIR] [--name NAME] [--limit N] [--samples N] [--device cuda] [--out DIR]

By default the testbed and facts of its world; any other model is asked common knowledge.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from editing.calibration.statements import common_knowledge
from editing.model.loading import load_model, load_tokenizer
from editing.requests import EditRequest
from editing.tracing.figures import plot
from editing.tracing.report import markdown, write
from editing.tracing.trace import TraceSettings, trace
from kbsync.experiments import testbed


def facts_for(model: Path) -> list[EditRequest]:
    """What the model may know, in a seeded random order."""
    statements = testbed.world_statements() if testbed.is_testbed(model) else common_knowledge()
    facts = [
        EditRequest(f"{one.subject} {one.relation}", one.templates[0], one.subject, one.object)
        for one in statements
    ]
    random.Random(0).shuffle(facts)
    return facts


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=testbed.PATH)
    parser.add_argument("--name", default="tracing", help="how the files are called")
    parser.add_argument("--limit", type=int, default=100, help="facts that the model is asked")
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--window", type=int, default=10)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--minutes", type=float, help="trace no further fact after so long; default: no limit"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/paper"))
    options = parser.parse_args(arguments)

    def progress(_: str, done: int, total: int) -> None:
        print(f"\r{done} of {total} facts", end="" if done < total else "\n", file=sys.stderr, flush=True)

    result = trace(
        load_model(options.model, device=options.device),
        load_tokenizer(options.model),
        facts_for(options.model)[: options.limit],
        TraceSettings(samples=options.samples, window=options.window, minutes=options.minutes),
        progress=progress,
    )
    write(result, options.out, options.name)
    plot(result, options.out / f"{options.name}.png")
    print(markdown(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
