"""Facts that a pretrained chat model states in conversations, edited with and without conversations and end tokens.

    python -m benchmarks.chat_contexts --edits 24 [--device cuda] [--model DIR] [--out DIR]

Counterfactual capitals in SmolLM2-135M-Instruct (`make pretrained`) and, beyond 60, countries of cities and authors of
books, edited as completions alone or with the question in the chat template as a further context, each with the
three values of `[edit] end_token`.  Rows that are in the results already are not measured again.  Writes
`chat-contexts-N.json`, `.md` and `.svg` under benchmarks/results or `--out`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks import chat_world as world
from benchmarks.chat import Bench, add_model_options, model_directory
from benchmarks.chat_rows import StoredRows
from benchmarks.chat_tables import RESULTS, table, without_texts
from benchmarks.chat_unchanged import TOKENS, Untouched, answered, asked_about, changes, share, unchanged
from benchmarks.chat_world import Fact, Relation
from editing.editors.contract import BuildInputs
from editing.evaluation.conversation import chat_answers
from editing.evaluation.free_answers import first_sentence
from editing.evaluation.metrics import strict_argmax
from editing.evaluation.scoring import answer_ends, before_end, continue_greedily, encode_prompts
from editing.memit.build import build
from editing.model.chat import asked
from editing.model.loading import load_model, load_tokenizer
from editing.model.weights import swapped
from editing.settings import EditSettings

SYSTEM = "You are a helpful assistant."
"""Replaces the system message that the template puts by itself."""
SETTINGS = EditSettings(optimiser="lbfgs", steps=18, prefixes=1, statistics_samples=96)
CHOICES = (
    (False, "none"),
    (False, "all"),
    (True, "none"),
    (True, "questions"),
    (True, "all"),
)
"""(whether facts are edited with their question, `end_token`) of each row."""


@dataclass(frozen=True)
class Answers:
    """What one model answers."""

    strict: list[bool]
    paraphrases: list[bool]
    edited: list[str]
    """To the question that facts may be edited with."""
    ended: list[bool]
    """Whether that answer ends after its first sentence."""
    unseen: list[str]
    system: list[str]
    """To the edited question, after a system message of one's own."""
    untouched: list[str]
    """To questions that no edit is about."""


def ask(bench: Bench, others: Sequence[Untouched]) -> Answers:
    """The answers of the model with its current weights; `others`: what no edit is about."""
    edited, ended = _whole(bench, [fact.said(fact.asks.questions[0]) for fact in bench.facts])
    return Answers(
        strict=_states(bench, lambda asks: (asks.prompt,)),
        paraphrases=_states(bench, lambda asks: asks.paraphrases),
        edited=edited,
        ended=ended,
        unseen=_said(bench, 1),
        system=_said(bench, 0, SYSTEM),
        untouched=answered(bench.model, bench.tokenizer, others),
    )


def _states(bench: Bench, wordings: Callable[[Relation], Sequence[str]]) -> list[bool]:
    pairs = [(fact.said(text), fact.new) for fact in bench.facts for text in wordings(fact.asks)]
    return strict_argmax(bench.model, bench.tokenizer, pairs)


def _said(bench: Bench, which: int, system: str = "") -> list[str]:
    """The first sentence of the answer to one of the questions about each fact."""
    questions = [fact.said(fact.asks.questions[which]) for fact in bench.facts]
    return chat_answers(bench.model, bench.tokenizer, questions, system=system, tokens=TOKENS)


@torch.inference_mode()
def _whole(bench: Bench, questions: Sequence[str]) -> tuple[list[str], list[bool]]:
    """(the first sentence, whether the answer ends there by itself) of each answer."""
    ends = answer_ends(bench.model, bench.tokenizer)
    prompts = encode_prompts(bench.tokenizer, [asked(bench.tokenizer, question) for question in questions])
    rows = continue_greedily(bench.model, prompts, TOKENS, ended=lambda ids: ids[-1] in ends)
    texts = [bench.tokenizer.decode(before_end(row, ends)).strip() for row in rows]
    said = [first_sentence(text) for text in texts]
    ended = [row[-1] in ends and one == text for row, one, text in zip(rows, said, texts, strict=True)]
    return said, ended


def figures(
    facts: Sequence[Fact], others: Sequence[Untouched], base: Answers, edited: Answers
) -> dict[str, float]:
    """The figures of one row: shares of answers."""
    kept = unchanged(others, base.untouched, edited.untouched)
    stated = [fact.new in said for fact, said in zip(facts, edited.edited, strict=True)]
    own = [fact.subject in said for fact, said in zip(facts, edited.edited, strict=True)]
    return {
        "strict": share(edited.strict),
        "paraphrases": share(edited.paraphrases),
        "stated": share(stated),
        "own_subject": share(own),
        "chat": _both(facts, edited.edited),
        "chat_unseen": _both(facts, edited.unseen),
        "chat_system": _both(facts, edited.system),
        "ended": share(edited.ended),
        "untouched": kept.text,
        "same_fact": kept.fact,
        "near_right": kept.near,
    }


def _both(facts: Sequence[Fact], said: Sequence[str]) -> float:
    """The share of answers that name the new object and their own subject."""
    return share([fact.new in text and fact.subject in text for fact, text in zip(facts, said, strict=True)])


def rows(
    bench: Bench,
    settings: EditSettings,
    cache: Path,
    kept: Callable[[dict[str, Any]], None],
    done: Sequence[Any],
) -> None:
    """Measure every row that is not `done`; `kept` is called with each."""
    missing = [choice for choice in CHOICES if choice not in done]
    if not missing:
        return
    others = asked_about(bench.model, bench.tokenizer, bench.facts)
    base = ask(bench, others)
    if not done:
        kept({"question": "base", "end_token": "", "lam": 0.0, **figures(bench.facts, others, base, base)})
    for question, end in missing:
        inputs = BuildInputs(
            requests=bench.requests(chat=question),
            settings=replace(settings, end_token=end),  # type: ignore[arg-type]
            cache=cache,
            base_digest="pretrained",
            corpus=(),
        )
        built = build(bench.model, bench.tokenizer, inputs)
        with swapped(bench.model, built.tensors):
            now = ask(bench, others)
        found = figures(bench.facts, others, base, now)
        kept(
            {
                "question": question,
                "end_token": end,
                "lam": built.cost.lam,
                **found,
                "answers": now.edited[:8],
                "changed": changes(others, base.untouched, now.untouched),
            }
        )


def plot(measured: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Bars of what is said in conversations, for each row."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    shown = {
        "chat": "asked as edited",
        "chat_unseen": "another wording",
        "chat_system": "after a system message",
    }
    shown |= {"own_subject": "its own subject is named", "same_fact": "untouched answers name the same"}
    figure, axes = plt.subplots(figsize=(8, 4))
    for number, (name, label) in enumerate(shown.items()):
        at = [index + 0.16 * (number - 2) for index in range(len(measured))]
        axes.bar(at, [row[name] for row in measured], width=0.16, label=label)
    axes.set_xticks(range(len(measured)), [_label(row) for row in measured])
    axes.set_ylabel("share of answers")
    axes.set_ylim(0, 1.05)
    axes.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.22))
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def _label(row: Mapping[str, Any]) -> str:
    if row["question"] == "base":
        return "not edited"
    edited = "with question" if row["question"] else "completion"
    return f"{edited}\nend token: {row['end_token']}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edits", type=int, default=24)
    parser.add_argument("--cache", type=Path, help="keep δs and statistics here for another call")
    parser.add_argument("--out", type=Path, default=RESULTS)
    add_model_options(parser)
    options = parser.parse_args()
    directory = model_directory(options)
    name = options.out / f"chat-contexts-{options.edits}"
    stored = StoredRows(name.with_suffix(".json"), options.edits, SETTINGS, options.device)
    model, tokenizer = load_model(directory, device=options.device), load_tokenizer(directory)
    bench = Bench(model, tokenizer, world.mixed_edits(options.edits))
    done = [(row["question"], row["end_token"]) for row in stored.rows]
    with TemporaryDirectory() as scratch:
        rows(bench, SETTINGS, options.cache or Path(scratch), stored.keep, done)
    name.with_suffix(".md").write_text(table(without_texts(stored.rows)), encoding="utf-8")
    plot(stored.rows, name.with_suffix(".svg"))


if __name__ == "__main__":
    main()
