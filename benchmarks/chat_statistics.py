"""What edits leave as it is in other conversations, by λ and by the text that the statistics are of.

    python -m benchmarks.chat_statistics --edits 24 [--statistics own-96 corpus] [--lams auto 1600] [--keep 0]

The same edits as in `chat_contexts.py`, with their question.  δs are shared by all rows, so a row costs one solve and
its questions.  Rows that are in the results already are not measured again.  Writes `chat-statistics-N.json`, `.md` and
`.svg` under benchmarks/results or `--out`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from benchmarks import chat_world as world
from benchmarks.chat import Bench, add_model_options, model_directory
from benchmarks.chat_contexts import SETTINGS
from benchmarks.chat_rows import StoredRows
from benchmarks.chat_tables import RESULTS, table, without_texts
from benchmarks.chat_unchanged import TOKENS, Untouched, answered, asked_about, changes, share, unchanged
from editing.editors.contract import BuildInputs
from editing.evaluation.conversation import chat_answers
from editing.evaluation.metrics import strict_argmax
from editing.memit.build import build
from editing.model.loading import load_model, load_tokenizer
from editing.model.weights import swapped
from editing.settings import EditSettings

DOCUMENTS = Path(__file__).parents[1] / "docs"
LAMS = ("auto", "1600", "3200", "6400", "12800", "25600")
SAMPLES = {"own-96": 96, "own-256": 256, "corpus": 256, "corpus-chat": 256}
"""Number of texts: of the model's own samples, half of them conversations, or of a corpus, the pages of the docs."""
CHAT = {"corpus": 0.0, "corpus-chat": 0.5}
"""Share of the corpus' paragraphs that are put through the chat template."""


@dataclass(frozen=True)
class Row:
    """How one row is edited."""

    statistics: str
    lam: float | str
    """As set."""
    keep: float

    def settings(self) -> EditSettings:
        return replace(
            SETTINGS,
            lam=self.lam,  # type: ignore[arg-type]
            keep=self.keep,
            statistics_samples=SAMPLES[self.statistics],
            statistics_chat=CHAT.get(self.statistics, 0.0),
        )


def corpus(scratch: Path) -> Path:
    """The paragraphs of the docs as a text file: what an operator may have at hand, and no conversations."""
    file = scratch / "corpus.txt"
    pages = (page.read_text(encoding="utf-8") for page in sorted(DOCUMENTS.glob("*.md")))
    paragraphs = (" ".join(part.split()) for page in pages for part in page.split("\n\n"))
    prose = [text for text in paragraphs if text[:1].isalpha() and len(text) > 120]
    file.write_text("\n".join(prose), encoding="utf-8")
    return file


@dataclass(frozen=True)
class Answers:
    """What one model answers."""

    strict: list[bool]
    paraphrases: list[bool]
    chat: list[bool]
    """To the edited question: whether the new object and the fact's own subject are named."""
    chat_unseen: list[bool]
    untouched: list[str]


def ask(bench: Bench, others: Sequence[Untouched]) -> Answers:
    """The answers of the model with its current weights; `others`: what no edit is about."""
    model, tokenizer, facts = bench.model, bench.tokenizer, bench.facts

    def states(pairs: Iterable[tuple[str, str]]) -> list[bool]:
        return strict_argmax(model, tokenizer, list(pairs))

    def says(which: int) -> list[bool]:
        questions = [fact.said(fact.asks.questions[which]) for fact in facts]
        said = chat_answers(model, tokenizer, questions, tokens=TOKENS)
        return [fact.new in text and fact.subject in text for fact, text in zip(facts, said, strict=True)]

    return Answers(
        strict=states((fact.said(fact.asks.prompt), fact.new) for fact in facts),
        paraphrases=states((fact.said(text), fact.new) for fact in facts for text in fact.asks.paraphrases),
        chat=says(0),
        chat_unseen=says(1),
        untouched=answered(model, tokenizer, others),
    )


def figures(others: Sequence[Untouched], base: Answers, edited: Answers) -> dict[str, float]:
    """The figures of one row: shares of answers."""
    kept = unchanged(others, base.untouched, edited.untouched)
    return {
        **{name: share(getattr(edited, name)) for name in ("strict", "paraphrases", "chat", "chat_unseen")},
        "untouched": kept.text,
        "same_fact": kept.fact,
        "near_right": kept.near,
        "unrelated": kept.unrelated_text,
        "unrelated_fact": kept.unrelated_fact,
    }


NOT_EDITED = Row("not edited, in bf16", "", 0.0)
"""The base, its weights rounded to 16 bits and back: what rounding alone changes in answers."""


def measure(
    bench: Bench, missing: Sequence[Row], cache: Path, scratch: Path, kept: Callable[[dict[str, Any]], None]
) -> None:
    """Measure each row; `kept` is called with it."""
    others = asked_about(bench.model, bench.tokenizer, bench.facts)
    base = ask(bench, others)
    for row in missing:
        if row == NOT_EDITED:
            tensors, lam = _rounded(bench.model), 0.0
        else:
            inputs = _inputs(bench, row, cache, corpus(scratch), others)
            built = build(bench.model, bench.tokenizer, inputs)
            tensors, lam = built.tensors, built.cost.lam
        with swapped(bench.model, tensors):
            now = ask(bench, others)
        found = {"statistics": row.statistics, "lam": lam, "keep": row.keep}
        found |= {"as_set": [row.lam], **figures(others, base, now)}
        kept({**found, "changed": [list(one) for one in changes(others, base.untouched, now.untouched)]})


def _inputs(bench: Bench, row: Row, cache: Path, pages: Path, others: Sequence[Untouched]) -> BuildInputs:
    """What is edited, and what is kept: no subject that is asked about to see what is left as it is."""
    asked = " ".join(one.question for one in others)
    kept = [(text, subject) for text, subject in bench.kept() if subject not in asked] if row.keep else []
    return BuildInputs(
        requests=bench.requests(chat=True),
        settings=row.settings(),
        cache=cache,
        base_digest="pretrained",
        corpus=[pages] if row.statistics in CHAT else [],
        kept=kept,
    )


def _rounded(model: Any) -> dict[str, Tensor]:
    """All weights, rounded to bf16 and back."""
    return {name: weight.bfloat16().to(weight.dtype) for name, weight in model.named_parameters()}


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """What is taken and what is left as it is, along λ."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    shown = {"chat": "edited facts, asked in a conversation", "same_fact": "other answers name the same"}
    shown |= {"untouched": "other answers, word for word"}
    figure, panels = plt.subplots(1, len(shown), figsize=(4 * len(shown), 3.5), sharey=True)
    for axes, (name, title) in zip(panels, shown.items(), strict=True):
        for kind in dict.fromkeys((row["statistics"], row["keep"]) for row in rows if row["lam"]):
            own = [row for row in rows if (row["statistics"], row["keep"]) == kind]
            own.sort(key=lambda row: row["lam"])
            label = kind[0] + (f", keep {kind[1]:g}" if kind[1] else "")
            axes.plot([row["lam"] for row in own], [row[name] for row in own], "o-", label=label)
        axes.set(title=title, xscale="log", xlabel="λ", ylim=(0, 1.05))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("share of answers")
    panels[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edits", type=int, default=24)
    parser.add_argument("--statistics", nargs="+", choices=[*SAMPLES], default=[*SAMPLES], metavar="NAME")
    parser.add_argument("--lams", nargs="+", default=LAMS, metavar="λ")
    parser.add_argument("--keep", nargs="+", type=float, default=(0.0,))
    parser.add_argument("--cache", type=Path, help="keep δs and statistics here for another call")
    parser.add_argument("--out", type=Path, default=RESULTS)
    add_model_options(parser)
    return parser.parse_args()


def main() -> None:
    options = _options()
    directory = model_directory(options)
    name = options.out / f"chat-statistics-{options.edits}"
    stored = StoredRows(name.with_suffix(".json"), options.edits, SETTINGS, options.device)
    lams = [lam if lam == "auto" else float(lam) for lam in options.lams]
    asked = [Row(one, lam, keep) for keep in options.keep for lam in lams for one in options.statistics]
    done = {Row(row["statistics"], row["as_set"][0], row["keep"]) for row in stored.rows}
    bench = Bench(
        load_model(directory, device=options.device),
        load_tokenizer(directory),
        world.mixed_edits(options.edits),
    )
    with TemporaryDirectory() as scratch:
        missing = [row for row in (NOT_EDITED, *asked) if row not in done]
        measure(bench, missing, options.cache or Path(scratch), Path(scratch), stored.keep)
    name.with_suffix(".md").write_text(table(without_texts(stored.rows)), encoding="utf-8")
    plot(stored.rows, name.with_suffix(".svg"))


if __name__ == "__main__":
    main()
