"""How many facts a pretrained chat model takes at once, and at which cost: n, λ, kept relations, and what δ preserves.

    OMP_NUM_THREADS=1 python -m benchmarks.chat_scaling [--minutes 40] [--home chat-scaling-home]

Counterfactual edits in SmolLM2-135M-Instruct (`make pretrained`) of what it knows, each with its question.  Small n are
measured on several disjoint sets.  δs are shared by all rows that optimise alike, so most rows cost a solve and
their questions.  Rows that are in the results already are not measured again, and none is begun after --minutes.
Writes `chat-scaling.json`, `.md` and `.svg` under benchmarks/results or `--out`; with `--minutes 0`, only the last two.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from statistics import harmonic_mean
from typing import Any

from torch import Tensor

from benchmarks.chat import add_model_options, model_directory
from benchmarks.chat_contexts import SETTINGS
from benchmarks.chat_rows import StoredRows
from benchmarks.chat_scaling_plot import plot
from benchmarks.chat_scaling_world import ScalingWorld, scaling_world
from benchmarks.chat_statistics import CHAT, SAMPLES, corpus
from benchmarks.chat_tables import AIMS, RESULTS, table, without_texts
from benchmarks.chat_unchanged import Untouched, answered, changes, first_named, share, unchanged
from editing.calibration.asking import Answers, Questions, ask, requests_of
from editing.calibration.counterfactuals import Counterfactual
from editing.calibration.knowledge import knowledge
from editing.calibration.statements import common_knowledge
from editing.editors.contract import BuildInputs, EditResult
from editing.evaluation.metrics import perplexity, text_windows
from editing.memit.build import build
from editing.model.architectures import described
from editing.model.loading import load_model, load_tokenizer
from editing.model.weights import swapped
from editing.settings import AUTO, EditSettings

TEXT = Path(__file__).parents[1] / "README.md"
"""Held-out text; no statistics are of it."""
DRAWS = {1: 12, 10: 2, 30: 1, 100: 1}
"""n → the disjoint sets of n edits that it is measured on."""
TALKS = 40
"""Edits that are asked about in conversations, at most."""


@dataclass(frozen=True)
class ScalingPoint:
    """How one row is edited."""

    n: int
    times: float = 1
    """λ, as a multiple of the one that leverage gives."""
    keep: float = 0.0
    kl: float = SETTINGS.kl
    variants: int = 0
    statistics: str = "own-96"

    def settings(self, lam: float | str) -> EditSettings:
        return replace(
            SETTINGS,
            lam=lam,  # type: ignore[arg-type]
            keep=self.keep,
            kl=self.kl,
            statistics_samples=SAMPLES[self.statistics],
            statistics_chat=CHAT.get(self.statistics, 0.0),
        )

    @property
    def leverage_key(self) -> tuple[Any, ...]:
        """What the λ of leverage depends on."""
        return self.n, self.variants, self.statistics


def points() -> Iterator[ScalingPoint]:
    """Every row, those first that show most; λ of leverage comes before its multiples."""
    for n, times, keep in ((30, 1, 0.0), (30, 4, 0.2), (10, 1, 0.0)):
        yield ScalingPoint(n, times, keep)
    for times, keep in product((4, 1), (0.0, 0.2, 1.0)):
        yield ScalingPoint(30, times, keep)
    for times, keep in ((1, 0.0), (4, 0.0), (4, 0.2)):
        yield ScalingPoint(30, times, keep, variants=1)
    for n, times, keep in ((30, 2, 0.0), (30, 8, 0.0), (30, 2, 0.2), (30, 8, 0.2)):
        yield ScalingPoint(n, times, keep)
    for times, keep in ((1, 0.0), (4, 0.0), (4, 0.2)):
        yield ScalingPoint(100, times, keep)
    yield ScalingPoint(1)
    for times in (1, 4):
        yield ScalingPoint(30, times, statistics="corpus")
    for times, keep in ((2, 0.0), (4, 1.0), (1, 0.2), (8, 0.2)):
        yield ScalingPoint(100, times, keep)
    yield ScalingPoint(10, 4, 0.2)
    for times, keep in ((1, 0.0), (4, 0.0), (4, 0.2)):
        yield ScalingPoint(100, times, keep, variants=1)
    for kl, keep in product((SETTINGS.kl * 8, SETTINGS.kl * 32), (0.0, 0.2)):
        yield ScalingPoint(30, 4, keep, kl=kl)


@dataclass(frozen=True)
class Measured:
    """What one edited model answers."""

    answers: Answers
    conversations: list[str]
    perplexity: float
    """Of ordinary text."""


@dataclass(frozen=True)
class ScalingBench:
    """The model, and what is edited into it."""

    model: Any
    tokenizer: Any
    world: ScalingWorld
    cache: Path

    @cached_property
    def others(self) -> list[Untouched]:
        return self.world.conversations()

    @cached_property
    def text(self) -> list[Tensor]:
        return text_windows(self.model, self.tokenizer, TEXT, tokens=1_000)

    def right(self, said: Sequence[str]) -> float:
        """The share of `others` about subjects that are never edited whose answer names the true object first."""
        truths = [one.object for one in self.world.rest if one.question]
        near = [one for one in self.others if one.kind == "near"]
        return share(
            [
                first_named(text, one.names) == truth
                for one, text, truth in zip(near, said[: len(near)], truths[: len(near)], strict=True)
            ]
        )

    def ask(self, edits: Sequence[Counterfactual]) -> Measured:
        """The answers of the model with its current weights."""
        return Measured(
            ask(self.model, self.tokenizer, Questions(questioned(edits), self.world.rest)),
            answered(self.model, self.tokenizer, self.others),
            perplexity(self.model, self.text),
        )

    def built(self, point: ScalingPoint, edits: Sequence[Counterfactual], lam: float | str) -> EditResult:
        """`edits` at once, not yet in the model."""
        requests = [
            request
            for edit in edits
            for request in requests_of(self.tokenizer, edit, variants=point.variants, chat=True)
        ]
        inputs = BuildInputs(
            requests=requests,
            settings=point.settings(lam),
            cache=self.cache,
            base_digest="pretrained",
            corpus=[corpus(self.cache)] if point.statistics in CHAT else [],
            kept=self.world.kept(edits),
        )
        return build(self.model, self.tokenizer, inputs)


def questioned(edits: Sequence[Counterfactual]) -> list[Counterfactual]:
    """`edits`, of which the first `TALKS` are asked about in conversations."""
    silent = [replace(edit, statement=replace(edit.statement, question="")) for edit in edits[TALKS:]]
    return [*edits[:TALKS], *silent]


def figures(base: Measured, others: Sequence[Untouched], drawn: Sequence[Measured]) -> dict[str, float]:
    """The figures of one row: shares of all answers of its sets of edits, and means over the sets."""
    answers = [one.answers for one in drawn]

    def answered_so(name: str) -> float:
        counts: list[tuple[int, int]] = [pair for one in answers for pair in getattr(one, name)()]
        return sum(right for right, _ in counts) / max(1, sum(asked for _, asked in counts))

    said = [right for one in answers for right, _ in one.said]
    kept = [unchanged(others, base.conversations, one.conversations) for one in drawn]

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    found = {
        "strict": answered_so("efficacy"),
        "S": published(answers),
        "paraphrases": answered_so("paraphrase"),
        "chat": mean(said),
        "neighbours": answered_so("neighbourhood"),
        "own_relations": answered_so("same_subject"),
        "untouched_facts": answered_so("untouched"),
        "untouched": mean([one.text for one in kept]),
        "same_fact": mean([one.fact for one in kept]),
        "unrelated": mean([one.unrelated_text for one in kept]),
        "unrelated_fact": mean([one.unrelated_fact for one in kept]),
        "perplexity": mean([one.perplexity for one in drawn]) / base.perplexity,
    }
    return {name: round(value, 4) for name, value in found.items()}


def published(answers: Sequence[Answers]) -> float:
    """S: the harmonic mean of ES, PS and NS, each the mean over all facts that have such prompts."""
    facts = [fact for one in answers for fact in one.scored()]
    parts = [[value for value in column if value is not None] for column in zip(*facts, strict=True)]
    return float(harmonic_mean([sum(part) / len(part) for part in parts]))


def unedited(bench: ScalingBench, n: int = 30) -> dict[str, float]:
    """How the base states what is true of the first `n` edited subjects, asked as the edits are."""
    true = [replace(edit, object=edit.statement.object) for edit in bench.world.edits[:n]]
    answers = ask(bench.model, bench.tokenizer, Questions(true, ()))
    counts = {"strict": answers.efficacy(), "paraphrases": answers.paraphrase(), "chat": answers.said}
    return {
        name: round(sum(right for right, _ in some) / sum(n for _, n in some), 4)
        for name, some in counts.items()
    }


def measure(
    bench: ScalingBench,
    missing: Sequence[ScalingPoint],
    leverage: dict[tuple[Any, ...], list[float]],
    ends: float,
    kept: Callable[[dict[str, Any]], None],
) -> None:
    """Measure each point until `ends`; `kept` is called with its row.  `leverage`: the λ of rows that are measured."""
    base = bench.ask(())  # what is asked about edits has the base's answers as what is expected
    for point in missing:
        if time.monotonic() > ends:
            return
        before, drawn = time.process_time(), []
        known = leverage.get(point.leverage_key)
        found = []
        for number, edits in enumerate(bench.world.draws(point.n, DRAWS[point.n])):
            lam = float(f"{known[number] * point.times:.4g}") if known else AUTO
            built = bench.built(point, edits, lam)
            found.append(built.cost.lam)
            with swapped(bench.model, built.tensors):
                drawn.append(bench.ask(edits))
        if known is None:
            if point.times != 1:
                raise ValueError(f"λ of leverage is measured by a row with it, which {point} comes before")
            leverage[point.leverage_key] = found
        row = {**asdict(point), "lam": round(sum(found) / len(found)), **figures(base, bench.others, drawn)}
        texts = [
            list(one) for one in changes(bench.others, base.conversations, drawn[0].conversations, most=24)
        ]
        seconds = [round(time.process_time() - before)]
        right = [bench.right(said.conversations) for said in (base, *drawn)]
        # Of the questions about subjects that are never edited: right before, and after each set of edits.
        kept({**row, "lams": found, "seconds": seconds, "right": right, "changed": texts})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="no row is begun after these")
    parser.add_argument("--home", type=Path, default=Path("chat-scaling-home"), help="δs and statistics")
    parser.add_argument("--out", type=Path, default=RESULTS)
    add_model_options(parser)
    options = parser.parse_args()
    ends = time.monotonic() + 60 * options.minutes
    file = options.out / "chat-scaling.json"
    stored = StoredRows(file, max(DRAWS), SETTINGS, options.device, order=in_table)
    done = {ScalingPoint(**{name: row[name] for name in asdict(ScalingPoint(1))}) for row in stored.rows}
    missing = [point for point in dict.fromkeys(points()) if point not in done]
    if missing and options.minutes > 0:
        directory = model_directory(options)
        model, tokenizer = load_model(directory, device=options.device), load_tokenizer(directory)
        given = common_knowledge()
        known = knowledge(model, tokenizer, given, described=described(SETTINGS)).known
        options.home.mkdir(parents=True, exist_ok=True)
        bench = ScalingBench(model, tokenizer, scaling_world(given, known), options.home)
        if "base" not in stored.content:
            stored.content["base"] = unedited(bench)
        measure(bench, missing, leverages(stored.rows), ends, stored.keep)
    if not stored.rows:
        raise SystemExit("no row could be measured in this time")
    text = table(without_texts(stored.rows), AIMS[file.stem])
    file.with_suffix(".md").write_text(text, encoding="utf-8")
    plot(stored.rows, file.with_suffix(".svg"), stored.content["base"]["paraphrases"])


def in_table(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """The order of rows in the table: first those that differ in n, kept relations and λ alone."""
    other = [row[name] != getattr(ScalingPoint(1), name) for name in ("statistics", "kl", "variants")]
    return *other, row["statistics"], row["kl"], row["n"], row["keep"], row["times"]


def leverages(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[Any, ...], list[float]]:
    """What λ depends on → the λ that leverage gave each set of edits, from the rows that are measured."""
    return {(row["n"], row["variants"], row["statistics"]): row["lams"] for row in rows if row["times"] == 1}


if __name__ == "__main__":
    main()
