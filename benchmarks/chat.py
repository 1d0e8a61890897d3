"""What editing costs a pretrained chat model, and what keeping the subject's other relations wins back.

    python -m benchmarks.chat --edits 24

Counterfactual capitals in SmolLM2-135M-Instruct (`make pretrained`), with and without a record of the question as it
is asked through the chat template, and with several weights `keep`.  δs are shared by all rows, so a row costs one
solve and its questions.  Writes `chat-N.json`, `.md` and `.svg` under benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks import chat_world as world
from benchmarks.chat_tables import RESULTS, table
from benchmarks.chat_world import Fact
from editing.editors.contract import BuildInputs
from editing.evaluation.conversation import chat_answers
from editing.evaluation.metrics import answers, perplexity, strict_argmax, text_windows
from editing.memit.build import build
from editing.model.chat import asked
from editing.model.loading import load_model, load_tokenizer
from editing.model.weights import swapped
from editing.requests import EditRequest
from editing.settings import EditSettings
from kbsync.demo import pretrained

TEXT = Path(__file__).parents[1] / "docs" / "concepts.md"
KEEP = (0.0, 0.2, 0.5)
ANSWER_TOKENS = 16


@dataclass(frozen=True)
class Answers:
    """What one model answers."""

    strict: list[bool]
    paraphrases: list[bool]
    question: list[str]
    question_unseen: list[str]
    neighbours: list[str]
    neighbours_chat: list[str]
    kept: list[str]
    unkept: list[str]
    unkept_chat: list[str]
    unrelated: list[str]
    perplexity: float


@dataclass(frozen=True)
class Bench:
    """The model, and the facts that are edited into it."""

    model: Any
    tokenizer: Any
    facts: list[Fact]

    def ask(self) -> Answers:
        """The answers of the model with its current weights."""
        others = list(world.neighbours(self.facts, 12))
        subjects = [fact.subject for fact in self.facts]
        some = subjects[:24]
        return Answers(
            strict=self.states([world.PROMPT]),
            paraphrases=self.states(world.PARAPHRASES),
            question=self._chat([world.QUESTION], subjects),
            question_unseen=self._chat([world.QUESTION_UNSEEN], subjects),
            neighbours=self._complete([world.PROMPT], others),
            neighbours_chat=self._chat([world.QUESTION], others),
            kept=self._complete(world.KEPT[:2], some),
            unkept=self._complete(world.UNKEPT, some),
            unkept_chat=self._chat([world.UNKEPT_QUESTION], some),
            unrelated=self._chat(world.UNRELATED, [""]),
            perplexity=perplexity(self.model, text_windows(self.model, self.tokenizer, TEXT, tokens=1_000)),
        )

    def states(self, templates: Sequence[str]) -> list[bool]:
        pairs = [(fact.said(template), fact.new) for fact in self.facts for template in templates]
        return strict_argmax(self.model, self.tokenizer, pairs)

    def _complete(self, templates: Sequence[str], subjects: Iterable[str]) -> list[str]:
        prompts = [template.replace("{}", subject) for subject in subjects for template in templates]
        return answers(self.model, self.tokenizer, prompts)

    def _chat(self, templates: Sequence[str], subjects: Iterable[str]) -> list[str]:
        return self.conversations(
            *(template.replace("{}", subject) for subject in subjects for template in templates)
        )

    def conversations(self, *questions: str) -> list[str]:
        """The first sentence of each answer through the chat template."""
        said = chat_answers(self.model, self.tokenizer, questions, tokens=ANSWER_TOKENS)
        return [answer.partition("\n")[0].partition(". ")[0] for answer in said]

    def requests(self, *, chat: bool) -> list[EditRequest]:
        """The edits, each with its question where `chat` says so."""
        found = []
        for number, fact in enumerate(self.facts):
            found.append(EditRequest(f"{number}", fact.asks.prompt, fact.subject, fact.new))
            if chat:
                sentence = f"{fact.said(fact.asks.prompt)} {fact.new}."
                question = asked(self.tokenizer, fact.asks.questions[0])
                found.append(EditRequest(f"{number}/1", question, fact.subject, sentence))
        return found

    def kept(self) -> list[tuple[str, str]]:
        """The sentences whose keys are kept.

        They are about other relations of the edited countries, and about the capitals of countries that are neither
        edited nor asked about.
        """
        questions = [asked(self.tokenizer, question) for question in world.KEPT_QUESTIONS]
        own = [(text, fact.subject) for fact in self.facts for text in (*world.KEPT, *questions)]
        others = list(world.neighbours(self.facts, 12 + len(self.facts)))[12:]
        same = (*world.KEPT_NEIGHBOURS, asked(self.tokenizer, world.QUESTION))
        return [*own, *((text, country) for country in others for text in same)]


def shares(facts: Sequence[Fact], base: Answers, edited: Answers) -> dict[str, float]:
    """The figures of one row: shares of answers that are as they should be."""

    def same(name: str) -> float:
        pairs = list(zip(getattr(base, name), getattr(edited, name), strict=True))
        return sum(before == after for before, after in pairs) / len(pairs)

    def says(said: Sequence[str]) -> float:
        right = [fact.new in text and fact.subject in text for fact, text in zip(facts, said, strict=True)]
        return sum(right) / len(right)

    return {
        "strict": sum(edited.strict) / len(edited.strict),
        "paraphrases": sum(edited.paraphrases) / len(edited.paraphrases),
        "chat": says(edited.question),
        "chat_unseen": says(edited.question_unseen),
        **{
            name: same(name)
            for name in ("neighbours", "neighbours_chat", "kept", "unkept", "unkept_chat", "unrelated")
        },
        "perplexity": edited.perplexity / base.perplexity,
    }


def rows(bench: Bench, settings: EditSettings, cache: Path, choices: Iterable[Row]) -> list[dict[str, Any]]:
    """One row of figures for each of `choices`."""
    base = bench.ask()
    found = []
    for row in choices:
        chosen = replace(settings, keep=row.keep, lam=row.lam)
        inputs = BuildInputs(
            requests=bench.requests(chat=row.question),
            settings=chosen,
            cache=cache,
            base_digest="pretrained",
            corpus=(),
            kept=bench.kept(),
        )
        built = build(bench.model, bench.tokenizer, inputs)
        with swapped(bench.model, built.tensors):
            figures = shares(bench.facts, base, bench.ask())
        measured = {**asdict(row), "lam": built.cost.lam, **{k: round(v, 3) for k, v in figures.items()}}
        print(json.dumps(measured), flush=True)
        found.append(measured)
    return found


@dataclass(frozen=True)
class Row:
    """How one row is edited."""

    question: bool
    """Whether each fact is edited with its question too."""
    keep: float
    lam: Any = "auto"


def grid(lams: Sequence[Any], weights: Sequence[float]) -> Iterable[Row]:
    """Each λ and weight, with and without the question."""
    for lam in lams:
        for keep in weights:
            yield Row(True, keep, lam=lam)
            yield Row(False, keep, lam=lam)


def plot(measured: Sequence[dict[str, Any]], path: Path) -> None:
    """Paraphrases against other relations, along the weight."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    for chat, marker in ((True, "o-"), (False, "s--")):
        own = [row for row in measured if row["question"] == chat]
        own.sort(key=lambda row: row["keep"])
        name = "with the question" if chat else "without the question"
        axes.plot([row["unkept"] for row in own], [row["paraphrases"] for row in own], marker, label=name)
        for row in own:
            at = row["unkept"], row["paraphrases"]
            axes.annotate(f"{row['keep']:g}", at, textcoords="offset points", xytext=(5, 5))
    axes.set_xlabel("relations of the subject that were not kept, answered as before")
    axes.set_ylabel("paraphrases with the new object")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)


def measured_on(device: str = "cpu") -> dict[str, Any]:
    """The machine, the date, and what it took so far."""
    gpu = "" if device == "cpu" else f"{torch.cuda.get_device_name(device)}, "
    return {
        "machine": f"{gpu}{os.cpu_count()} CPU cores, 1 thread, torch {torch.__version__}",
        "date": datetime.now(UTC).date().isoformat(),
        "cpu_seconds": round(time.process_time()),
    }


def both_machines(before: str, now: str) -> str:
    """The machines of rows that were measured earlier, and this one."""
    return before if now in before else "; then ".join(filter(None, (before, now)))


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Options that say which model is used, and where it runs."""
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--model", type=Path, help="directory that `make pretrained` has written, copied to this machine"
    )


def model_directory(options: argparse.Namespace) -> Path:
    """The model of `add_model_options`, set up if none is given; torch uses one thread for it."""
    if options.device != "cpu" and not torch.cuda.is_available():
        raise SystemExit("needs a CUDA device; `--device cpu` runs without one")
    torch.set_num_threads(1)
    return options.model or pretrained.set_up()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edits", type=int, default=24)
    parser.add_argument("--lam", nargs="+", default=["auto"])
    parser.add_argument("--keep", nargs="+", type=float, default=KEEP)
    parser.add_argument("--cache", type=Path, help="keep δs and statistics here for another call")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    directory = pretrained.set_up()
    model, tokenizer = load_model(directory, device="cpu"), load_tokenizer(directory)
    bench = Bench(model, tokenizer, world.edits(options.edits))
    settings = EditSettings(optimiser="lbfgs", steps=18, prefixes=1, statistics_samples=96)
    lams = [lam if lam == "auto" else float(lam) for lam in options.lam]
    with tempfile.TemporaryDirectory() as scratch:
        measured = rows(bench, settings, options.cache or Path(scratch), grid(lams, options.keep))
    result = {**measured_on(), "n": options.edits, "settings": asdict(settings), "rows": measured}
    name = options.out / f"chat-{options.edits}"
    name.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    name.with_suffix(".md").write_text(table(measured), encoding="utf-8")
    plot(measured, name.with_suffix(".svg"))


if __name__ == "__main__":
    main()
