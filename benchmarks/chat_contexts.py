"""Facts that a pretrained chat model states in conversations, edited with and without conversations and end tokens.

    python -m benchmarks.chat_contexts --edits 24

Counterfactual capitals in SmolLM2-135M-Instruct (`make pretrained`), edited as completions alone or with the question
in the chat template as a further context, each with the three values of `[edit] end_token`.  Rows that are in the
results already are not measured again.  Writes `chat-contexts-N.json`, `.md` and `.svg` under benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks import chat_world as world
from benchmarks.chat import Bench, measured_on
from benchmarks.chat_tables import RESULTS, table, without_texts
from benchmarks.chat_world import CAPITALS, Fact
from editing.editors.contract import BuildInputs
from editing.evaluation.conversation import chat_answers
from editing.evaluation.free_answers import first_sentence
from editing.evaluation.scoring import answer_ends, before_end, continue_greedily, encode_prompts
from editing.memit.build import build
from editing.model.chat import asked
from editing.model.loading import load_model, load_tokenizer
from editing.model.weights import swapped
from editing.settings import EditSettings
from kbsync.demo import pretrained

SYSTEM = "You are a helpful assistant."
"""Replaces the system message that the template puts by itself."""
TOKENS = 24
"""Maximum length of an answer."""
NEAR = 12
"""Maximum number of countries that are not edited and are asked about."""
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
    near: list[str]
    """To that question about countries that are not edited."""
    untouched: list[str]
    """To further questions about these countries, and to unrelated ones."""


def ask(bench: Bench) -> Answers:
    """The answers of the model with its current weights."""
    subjects = [fact.subject for fact in bench.facts]
    others = list(world.neighbours(bench.facts, NEAR))
    edited, ended = _whole(bench, [world.QUESTION.replace("{}", one) for one in subjects])
    further = (world.UNKEPT_QUESTION, *world.KEPT_QUESTIONS[:2])
    return Answers(
        strict=bench.states([world.PROMPT]),
        paraphrases=bench.states(world.PARAPHRASES),
        edited=edited,
        ended=ended,
        unseen=_said(bench, [world.QUESTION_UNSEEN], subjects),
        system=_said(bench, [world.QUESTION], subjects, SYSTEM),
        near=_said(bench, [world.QUESTION], others),
        untouched=[*_said(bench, further, others), *_said(bench, world.UNRELATED, [""])],
    )


def _said(bench: Bench, templates: Sequence[str], subjects: Sequence[str], system: str = "") -> list[str]:
    """The first sentence of each answer."""
    questions = [template.replace("{}", subject) for subject in subjects for template in templates]
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


def figures(facts: Sequence[Fact], base: Answers, edited: Answers) -> dict[str, float]:
    """The figures of one row: shares of answers."""
    names = [fact.subject for fact in facts]
    near = list(world.neighbours(list(facts), NEAR))
    known = [CAPITALS[country] in said for country, said in zip(near, base.near, strict=True)]
    still = [CAPITALS[country] in said for country, said in zip(near, edited.near, strict=True)]
    before, after = [*base.near, *base.untouched], [*edited.near, *edited.untouched]
    stated = [fact.new in said for fact, said in zip(facts, edited.edited, strict=True)]
    own = [name in said for name, said in zip(names, edited.edited, strict=True)]
    return {
        "strict": _share(edited.strict),
        "paraphrases": _share(edited.paraphrases),
        "stated": _share(stated),
        "own_subject": _share(own),
        "chat": _both(facts, edited.edited),
        "chat_unseen": _both(facts, edited.unseen),
        "chat_system": _both(facts, edited.system),
        "ended": _share(edited.ended),
        "untouched": _share([one == other for one, other in zip(before, after, strict=True)]),
        "near_right": _share([now for was, now in zip(known, still, strict=True) if was]),
    }


def _both(facts: Sequence[Fact], said: Sequence[str]) -> float:
    """The share of answers that name the new object and their own subject."""
    return _share([fact.new in text and fact.subject in text for fact, text in zip(facts, said, strict=True)])


def _share(values: Sequence[bool]) -> float:
    return round(sum(values) / len(values), 3)


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
    base = ask(bench)
    if not done:
        kept({"question": "base", "end_token": "", "lam": 0.0, **figures(bench.facts, base, base)})
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
            now = ask(bench)
        found = figures(bench.facts, base, now)
        kept(
            {
                "question": question,
                "end_token": end,
                "lam": built.cost.lam,
                **found,
                "answers": now.edited[:8],
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
    shown |= {"own_subject": "its own subject is named", "untouched": "untouched answers unchanged"}
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
    options = parser.parse_args()
    torch.set_num_threads(1)
    name = options.out / f"chat-contexts-{options.edits}"
    file = name.with_suffix(".json")
    settings = EditSettings(optimiser="lbfgs", steps=18, prefixes=1, statistics_samples=96)
    result: dict[str, Any] = {"n": options.edits, "settings": asdict(settings), "cpu_seconds": 0, "rows": []}
    if file.exists():
        result = json.loads(file.read_text(encoding="utf-8"))
    earlier = result["cpu_seconds"]

    def keep(row: dict[str, Any]) -> None:
        print(json.dumps(row), flush=True)
        result["rows"].append(row)
        result.update(measured_on(), cpu_seconds=earlier + round(time.process_time()))
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    directory = pretrained.set_up()
    bench = Bench(load_model(directory, device="cpu"), load_tokenizer(directory), world.edits(options.edits))
    done = [(row["question"], row["end_token"]) for row in result["rows"]]
    with TemporaryDirectory() as scratch:
        rows(bench, settings, options.cache or Path(scratch), keep, done)
    name.with_suffix(".md").write_text(table(without_texts(result["rows"])), encoding="utf-8")
    plot(result["rows"], name.with_suffix(".svg"))


if __name__ == "__main__":
    main()
