"""What an adapter's rank costs, for two fits: `python -m benchmarks.adapters`.

Counterfactual edits of the bundled model and, if it is set up (`make pretrained`), of a pretrained chat model, with
every layer's update limited to a rank: `plain` takes the singular value decomposition of each finished ΔW, `solve` the
best fit in the metric of the solve, layer by layer (`editing/memit/low_rank.py`).  Rank 0 is no limit; rows `average`
have one averaged key for each fact.  Rows that are in the file already are not measured again.  Writes `adapters.json`,
`.md` and `.svg` under benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import chat_world
from benchmarks.chat_world import Fact
from benchmarks.testbed.quality import Bench
from benchmarks.testbed.tables import DEMO, RESULTS, bench, recommended
from editing.editors.contract import BuildInputs
from editing.evaluation.scoring import Score, encode_targets, score
from editing.memit.build import MemitResult, build
from editing.model.loading import load_model, load_tokenizer
from editing.model.weights import swapped
from editing.requests import EditRequest
from editing.settings import EditSettings
from editing.storage.adapter import served_rank
from kbsync.demo import pretrained

EDITS = {"bundled": 79, "pretrained": 24}
RANKS = {"bundled": (16, 32, 48, 64, 80, 96, 128), "pretrained": (8, 16, 24, 32, 64, 128)}
FITS = ("plain", "solve")
NEAR = 24
"""Countries that are not edited and are asked about."""
Figures = dict[str, float]
Editor = Callable[..., MemitResult]


@dataclass(frozen=True)
class Row:
    """One way to limit the rank."""

    model: str
    keys: str
    fit: str
    rank: int
    """0: no limit."""

    def editor(self) -> Editor:
        return partial(limited, rank=self.rank, fit=self.fit)


def limited(model: Any, tokenizer: Any, inputs: BuildInputs, *, rank: int, fit: str) -> MemitResult:
    """MEMIT whose updates have at most this rank."""
    if fit == "solve" or not rank:
        return build(model, tokenizer, replace(inputs, max_rank=rank or None))
    built = build(model, tokenizer, inputs)
    before = dict(model.named_parameters())
    cut = {name: truncated(before[name].detach(), after, rank) for name, after in built.tensors.items()}
    return replace(built, tensors=cut)


def truncated(before: Tensor, after: Tensor, rank: int) -> Tensor:
    """`after` with the closest ΔW of that rank."""
    u, values, v = torch.linalg.svd(after.double() - before.double(), full_matrices=False)
    return (before.double() + (u[:, :rank] * values[:rank]) @ v[:rank]).to(after.dtype)


def megabytes(tensors: Mapping[str, Tensor], rank: int) -> float:
    """Size of the adapter in MB; rounded up to a rank that vLLM serves, in the dtype of the model."""
    sizes = (sum(tensor.shape) * tensor.element_size() for tensor in tensors.values())
    return served_rank(rank) * sum(sizes) / 1e6


def rows(model: str) -> Iterator[Row]:
    """Every row of one model."""
    yield Row(model, "all", "exact", 0)
    yield Row(model, "average", "exact", 0)
    for rank in RANKS[model]:
        for fit in FITS:
            yield Row(model, "all", fit, rank)


def bundled(bench: Bench, settings: EditSettings, variants: int, row: Row) -> Figures:
    """The figures of one row of the bundled model."""
    ranks: list[MemitResult] = []

    def editor(model: Any, tokenizer: Any, inputs: BuildInputs) -> MemitResult:
        ranks.append(row.editor()(model, tokenizer, inputs))
        return ranks[-1]

    drawn = bench.counterfactuals(EDITS["bundled"])
    found = bench.judge(drawn, replace(settings, keys=row.keys), variants=variants, editor=editor)
    needed = found_rank(bench.model, ranks[-1]) if not row.rank else row.rank
    return {
        "s": found.s,
        "strict": found.strict,
        "neighbours": found.neighbours,
        "rank": needed,
        "mb": megabytes(ranks[-1].tensors, needed),
    }


def found_rank(model: Any, built: MemitResult) -> int:
    """The rank that the updates need."""
    before = dict(model.named_parameters())
    ranks = []
    for name, after in built.tensors.items():
        values = torch.linalg.svdvals(after.double() - before[name].detach().double())
        ranks.append(int((values > 1e-5 * values[0]).sum()))
    return max(ranks)


@dataclass(frozen=True)
class Chat:
    """The pretrained model and its questions: capitals, counterfactual for some countries."""

    model: Any
    tokenizer: Any
    facts: Sequence[Fact]
    cache: Path

    def figures(self, settings: EditSettings, row: Row) -> Figures:
        inputs = BuildInputs(
            requests=[
                EditRequest(f"{number:03}", chat_world.PROMPT, fact.subject, fact.new)
                for number, fact in enumerate(self.facts)
            ],
            settings=replace(settings, keys=row.keys),
            cache=self.cache,
            base_digest="pretrained",
            corpus=[DEMO / "text" / "corpus.txt"],
        )
        built = row.editor()(self.model, self.tokenizer, inputs)
        needed = found_rank(self.model, built) if not row.rank else row.rank
        near = list(chat_world.neighbours(list(self.facts), NEAR))
        own = [(chat_world.PROMPT, fact.subject, fact.new, fact.old) for fact in self.facts]
        others = [
            (template, fact.subject, fact.new, fact.old)
            for fact in self.facts
            for template in chat_world.PARAPHRASES
        ]
        away = [
            (chat_world.PROMPT, country, chat_world.CAPITALS[country], fact.new)
            for country, fact in zip(near, self.facts, strict=False)
        ]
        before = self._strict(away)
        with swapped(self.model, built.tensors):
            es, ps, ns = map(self._prefers, (own, others, away))
            kept = [after for known, after in zip(before, self._strict(away), strict=True) if known]
            strict = _share(self._strict(own))
        return {
            "s": 3 / sum(1 / max(value, 1e-9) for value in (es, ps, ns)),
            "strict": strict,
            "neighbours": _share(kept),
            "rank": needed,
            "mb": megabytes(built.tensors, needed),
        }

    def _strict(self, cases: Sequence[tuple[str, str, str, str]]) -> list[bool]:
        return [one.strict for one in self._scores([(t, s, a) for t, s, a, _ in cases])]

    def _prefers(self, cases: Sequence[tuple[str, str, str, str]]) -> float:
        """The share of (template, subject, this, that) where `this` is likelier."""
        these = self._scores([(t, s, a) for t, s, a, _ in cases])
        those = self._scores([(t, s, b) for t, s, _, b in cases])
        return _share([a.logprob > b.logprob for a, b in zip(these, those, strict=True)])

    def _scores(self, cases: Sequence[tuple[str, str, str]]) -> list[Score]:
        pairs = [(template.replace("{}", subject), target) for template, subject, target in cases]
        return score(self.model, encode_targets(self.tokenizer, pairs))


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values)


def measure(model: str, cache: Path) -> Callable[[Row], Figures]:
    """What measures the rows of one model."""
    if model == "bundled":
        settings, variants = recommended(DEMO / "model")
        return partial(bundled, bench(DEMO / "model", cache), settings, variants)
    directory = pretrained.directory()
    loaded = load_model(directory)
    chat = Chat(loaded, load_tokenizer(directory), chat_world.edits(EDITS[model]), cache)
    return partial(chat.figures, EditSettings(chat=False))


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """The rows in Markdown."""
    names = ("model", "edits", "keys", "fit", "rank", "s", "strict", "neighbours", "mb")
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in found]
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def plot(found: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Strict answers against the rank."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    models = sorted({row["model"] for row in found})
    figure, panels = plt.subplots(1, len(models), figsize=(5 * len(models), 4), squeeze=False)
    for axes, model in zip(panels[0], models, strict=True):
        own = [row for row in found if row["model"] == model]
        for fit in FITS:
            points = sorted((row["rank"], row["strict"]) for row in own if row["fit"] == fit)
            axes.plot(*zip(*points, strict=True), "o-", label=fit)
        for row in own:
            if row["fit"] == "exact":
                axes.plot(row["rank"], row["strict"], "s", label=f"exact, {row['keys']} keys")
        axes.set(
            title=f"{model}, {EDITS[model]} edits", xlabel="rank", ylabel="strict answers", ylim=(0, 1.05)
        )
        axes.grid(alpha=0.3)
        axes.legend()
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", default=[*EDITS], choices=[*EDITS])
    parser.add_argument("--cache", type=Path, help="keep statistics and residuals here")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    file = options.out / "adapters.json"
    found: list[dict[str, Any]] = json.loads(file.read_bytes()) if file.exists() else []
    done = {(row["model"], row["keys"], row["fit"], row["limit"]) for row in found}
    with tempfile.TemporaryDirectory() as scratch:
        for model in options.models:
            if model == "pretrained" and not pretrained.is_set_up():
                continue
            ask = None
            for row in rows(model):
                if (row.model, row.keys, row.fit, row.rank) in done:
                    continue
                ask = ask or measure(model, options.cache or Path(scratch))
                figures = {name: round(value, 4) for name, value in ask(row).items()}
                about = {"model": model, "edits": EDITS[model], "keys": row.keys, "fit": row.fit}
                found.append({**about, "limit": row.rank, **figures})
                print(json.dumps(found[-1]), flush=True)
                file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    found.sort(key=lambda row: (row["model"], row["limit"] or row["rank"] + 1, row["keys"], row["fit"]))
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    file.with_suffix(".md").write_text(table(found), encoding="utf-8")
    plot(found, file.with_suffix(".svg"))


if __name__ == "__main__":
    main()
