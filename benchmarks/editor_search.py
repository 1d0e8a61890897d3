"""The search for each editor's hyper-parameters on the bundled model: `python -m benchmarks.editor_search`.

A rival with unsuitable settings proves nothing, so every editor gets a search of its own: one option after the other,
each over a short list, keeping the best so far, which is the highest S less what perplexity rises above `FREE`.  It
runs on counterfactual edits of a seed that no experiment of `kbsync bench` uses.  Results are kept in `--cache` and
computed once.  Writes `editor-search.json` and `.md` under benchmarks/results; the table is in docs/editors.md.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from editing.settings import EditSettings
from editing.storage.base_import import import_base
from editing.storage.loaded import load_base
from kbsync.demo.setting import MODEL, TEXT, measured_settings
from kbsync.experiments.cases import counterfactual_cases
from kbsync.experiments.measuring import Bench, EditTrial
from kbsync.experiments.scores import TrialScores, measured
from kbsync.experiments.testbed import world_statements

SEED = 1_000
"""Experiments use small seeds."""
FREE = 1.05
"""Perplexity over the base's that costs nothing: an editor that ruins the language has not found good settings."""
RESULTS = Path(__file__).parent / "results"
LISTS: Mapping[str, Sequence[tuple[str, Sequence[float]]]] = {
    "memit": (),
    "memit_null_space": (("l2", (1.0, 0.1, 10.0, 100.0)), ("threshold", (0.1, 0.02, 0.5))),
    "locft_bf": (("batch", (100, 10)), ("lr", (5e-4, 2e-4, 1e-3)), ("layer", (1, 0, 2))),
    "ft_w": (("decay", (1.0, 0.0)), ("batch", (64, 10)), ("lr", (5e-4, 2e-4)), ("layer", (1,))),
    "one_gradient": (("lr", (1e-4, 1e-3, 1e-2)), ("last_layer", (1, 0)), ("l2", (1.0, 10.0))),
}
"""Editor → its options in the order in which they are searched, each with what is tried; the first is the start."""


class Search:
    """The search of one editor after the other."""

    def __init__(self, bench: Bench, facts: int) -> None:
        self.bench = bench
        known = {name: value for name, value in measured_settings().items() if name != "variants"}
        known["layers"] = tuple(known["layers"])  # type: ignore[arg-type]
        self.settings = EditSettings(**known)  # type: ignore[arg-type]
        self.cases = counterfactual_cases(world_statements(), seed=SEED, most=facts)
        self.rows: list[dict[str, object]] = []

    def editor(self, name: str) -> dict[str, float]:
        """The best options found for `name`."""
        lists = LISTS[name]
        best: dict[str, float] = {option: values[0] for option, values in lists}
        if name == "one_gradient":
            best["first_layer"] = 0
        score = self.trial(name, best)
        for option, values in lists:
            for value in values[1:]:
                found = self.trial(name, best | {option: value})
                if found > score:
                    score, best = found, best | {option: value}
        return best

    def trial(self, name: str, options: Mapping[str, float]) -> float:
        """How good one trial is, which becomes a row of the table."""
        settings = replace(self.settings, editor=name, options=dict(options))
        found = self.bench.scores(
            EditTrial(name, settings, self.cases, len(self.cases), variants=1, seed=SEED)
        )
        self.rows.append(row := self.row(name, options, found))
        print(json.dumps(row), flush=True)
        if found.error:
            return -math.inf
        return measured([found])["S"].value - max(0.0, found.perplexity_ratio - FREE)

    def row(self, name: str, options: Mapping[str, float], found: TrialScores) -> dict[str, object]:
        shown = {} if found.error else measured([found])
        values = {
            what: round(shown[what].value, 3) for what in ("S", "ES", "PS", "NS", "strict") if what in shown
        }
        return {
            "editor": name,
            "options": dict(options),
            **values,
            "perplexity": round(found.perplexity_ratio, 3),
            "seconds": round(found.seconds, 1),
            "error": found.error,
        }


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """The rows as Markdown."""
    columns = ("S", "ES", "PS", "NS", "strict", "perplexity")
    lines = [f"| editor | options | {' | '.join(columns)} |", "|---|---" + "|---" * len(columns) + "|"]
    for row in rows:
        options = row["options"]
        assert isinstance(options, dict)
        text = ", ".join(f"{name} {value:g}" for name, value in options.items())
        cells = [str(row.get(column, "failed")) for column in columns]
        lines.append(f"| `{row['editor']}` | {text} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--facts", type=int, default=100)
    parser.add_argument("--cache", type=Path, required=True, help="directory that is kept between searches")
    parser.add_argument("editors", nargs="*", help="editors to search for; none: all")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    _, directory = import_base(MODEL, chosen.cache / "base")
    bench = Bench(
        load_base(directory),
        chosen.cache / "cache",
        (TEXT / "corpus.txt",),
        TEXT / "heldout.txt",
    )
    search, began = Search(bench, chosen.facts), time.perf_counter()
    best: dict[str, dict[str, float]] = {}
    for name in chosen.editors or LISTS:
        best[name] = search.editor(name)
        out = {
            "facts": chosen.facts,
            "seed": SEED,
            "settings": asdict(search.settings),
            "seconds": round(time.perf_counter() - began),
            "best": best,
            "trials": search.rows,
        }
        (RESULTS / "editor-search.json").write_text(json.dumps(out, indent=1, ensure_ascii=False) + "\n")
        (RESULTS / "editor-search.md").write_text(table(search.rows))
    print(json.dumps(best, indent=1))


if __name__ == "__main__":
    main()
