"""How much edits make a matrix grow, where they are good and where they are not: `python -m benchmarks.growth`.

The figure that the gate `weight_growth` judges, the largest ‖W + Δ‖ / ‖W‖ of the edited matrices, for counterfactual
edits of the bundled model and, with `--pretrained DIR` (`make pretrained` prints it), of a pretrained chat model: with
settings that fit the model, and with settings that are wrong on purpose.  `good` is what the other gates say: strict
answers, paraphrases, neighbours, other relations of the subject and perplexity against their default thresholds.
Writes `growth.json`, `.md` and `.svg` under benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.testbed.tables import DEMO, RESULTS, bench, recommended
from editing.evaluation.metrics import answers, perplexity, strict_argmax, text_windows
from editing.notebook import edit, settings_beside
from editing.requests import EditRequest
from editing.settings import EditSettings

BUNDLED = (1, 2, 4, 8, 20, 60)
PRETRAINED = (1, 8, 24)
LEAST = {
    "strict": 0.95,
    "paraphrase": 0.85,
    "neighbours": 0.9,
    "same_subject": 0.85,
}
"""Default thresholds of the gates efficacy, paraphrase, neighbourhood and same_subject."""
MOST_PERPLEXITY = 1.05
COUNTRIES = (
    "France",
    "Germany",
    "Italy",
    "Spain",
    "Poland",
    "Greece",
    "Norway",
    "Sweden",
    "Finland",
    "Denmark",
    "Hungary",
    "Austria",
    "Portugal",
    "Ireland",
    "Turkey",
    "Egypt",
    "Kenya",
    "Japan",
    "China",
    "India",
    "Thailand",
    "Vietnam",
    "Peru",
    "Cuba",
    "Canada",
    "Australia",
    "Russia",
    "Ukraine",
    "Romania",
)
CAPITALS = ("Paris", "Berlin", "Rome", "Madrid", "Warsaw", "Athens", "Oslo", "Helsinki", "Vienna", "Tokyo")
PROMPT = "The capital of {} is"
TOKENS = 2_000
"""Tokens of held-out text for the perplexity of the pretrained model."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """Settings that are wrong on purpose, on top of those that fit."""

    name: str
    changed: Callable[[EditSettings, float], dict[str, Any]]
    """(the settings that fit, their λ) → the changed keys."""


WRONG = (
    Wrong("fit", lambda fit, lam: {}),
    Wrong("λ / 100", lambda fit, lam: {"lam": lam / 100}),
    Wrong("λ / 10,000", lambda fit, lam: {"lam": lam / 10_000}),
    Wrong("no clamp", lambda fit, lam: {"clamp": 1e3}),
    Wrong("lr × 20", lambda fit, lam: {"optimiser": "adam", "steps": 25, "lr": 10.0, "clamp": 1e3}),
)


def good(row: Mapping[str, Any]) -> bool:
    """Whether the other gates would let the edit pass; a measure that no case applies to is not judged."""
    shares = ((row[name], least) for name, least in LEAST.items() if name in row)
    return row["perplexity"] <= MOST_PERPLEXITY and all(
        value >= least or math.isnan(value) for value, least in shares
    )


def bundled(numbers: Sequence[int], cache: Path) -> Iterator[dict[str, Any]]:
    """A row for each number of counterfactual edits of the bundled model and each kind of settings."""
    fit, variants = recommended(DEMO / "model")
    model = bench(DEMO / "model", cache)
    for n in numbers:
        drawn = model.counterfactuals(n)
        for wrong in WRONG:
            settings = replace(fit, **wrong.changed(fit, float(fit.lam or 0.0)))
            found = asdict(model.judge(drawn, settings, variants=variants))
            kept = {name: found[name] for name in (*LEAST, "perplexity", "growth")}
            yield {"model": "bundled", "n": n, "settings": wrong.name, **kept}


def pretrained(directory: Path, numbers: Sequence[int], cache: Path) -> Iterator[dict[str, Any]]:
    """The same for a pretrained model: other capitals, among countries that it answers at all."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    windows = text_windows(model, tokenizer, DEMO / "text" / "heldout.txt", tokens=TOKENS)
    before = _perplexity(model, windows)
    fit = replace(settings_beside(model), steps=25, chat=False)
    for n in numbers:
        edited, near = COUNTRIES[:n], COUNTRIES[-6:]
        known = answers(model, tokenizer, [PROMPT.format(country) for country in near])
        requests = [
            EditRequest(
                country, f"In short, {PROMPT[0].lower()}{PROMPT[1:]}", country, _other(country, number)
            )
            for number, country in enumerate(edited)
        ]
        lam = 0.0
        for wrong in WRONG:
            settings = replace(fit, **wrong.changed(fit, lam))
            done = edit(
                model, tokenizer, requests, settings, corpus=[DEMO / "text" / "corpus.txt"], cache=cache
            )
            lam = lam or done.result.cost.lam
            asked = [(request.rendered, request.target) for request in requests]
            now = answers(model, tokenizer, [PROMPT.format(country) for country in near])
            yield {
                "model": "pretrained",
                "n": n,
                "settings": wrong.name,
                "strict": _share(strict_argmax(model, tokenizer, asked)),
                "neighbours": _share([a == b for a, b in zip(known, now, strict=True)]),
                "perplexity": _perplexity(model, windows) / before,
                "growth": max(done.result.cost.growth.values()),
            }
            done.undo()


@torch.inference_mode()
def _perplexity(model: Any, windows: Sequence[torch.Tensor]) -> float:
    return perplexity(model, windows)


def _other(country: str, number: int) -> str:
    """A capital that is not the country's own."""
    own = dict(zip(COUNTRIES, CAPITALS, strict=False)).get(country)
    return next(c for c in CAPITALS[number % len(CAPITALS) :] + CAPITALS if c != own)


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows in Markdown."""
    names = ("model", "n", "settings", "growth", *LEAST, "perplexity", "good")
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in names) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3f}"
    return "" if value is None else str(value)


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Growth against the number of edits: good ones filled, others hollow."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 4))
    for axes, model in zip(panels, ("bundled", "pretrained"), strict=True):
        for number, wrong in enumerate(WRONG):
            own = [row for row in rows if row["model"] == model and row["settings"] == wrong.name]
            colour = f"C{number}"
            axes.plot([r["n"] for r in own], [r["growth"] for r in own], "-", color=colour, label=wrong.name)
            for row in own:
                face = colour if row["good"] else "none"
                axes.plot(row["n"], row["growth"], "o", color=colour, markerfacecolor=face)
        axes.set(
            title=f"{model} (filled: good)",
            xlabel="edits",
            ylabel="weight_growth",
            xscale="log",
            yscale="log",
        )
        axes.grid(alpha=0.3)
        axes.legend()
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundled", type=int, nargs="*", default=BUNDLED, help="numbers of edits")
    parser.add_argument("--pretrained", type=Path, help="directory of the pretrained model")
    parser.add_argument(
        "--edits", type=int, nargs="*", default=PRETRAINED, help="numbers of edits of that model"
    )
    parser.add_argument("--cache", type=Path, help="keep statistics and residuals here")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        cache = options.cache or Path(scratch)
        for row in _all(options, cache):
            rows.append(row | {"good": good(row)})
            print(json.dumps(rows[-1]), flush=True)
    machine = f"{platform.machine()}, 1 thread, CPU, torch {torch.__version__}"
    name = options.out / "growth"
    written = json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n"
    name.with_suffix(".json").write_text(written, encoding="utf-8")
    name.with_suffix(".md").write_text(table(rows), encoding="utf-8")
    plot(rows, name.with_suffix(".svg"))


def _all(options: argparse.Namespace, cache: Path) -> Iterator[dict[str, Any]]:
    yield from bundled(options.bundled, cache)
    if options.pretrained is not None:
        yield from pretrained(options.pretrained, options.edits, cache)


if __name__ == "__main__":
    main()
