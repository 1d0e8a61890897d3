"""A fact is asked for in conversations with and without a system message, with thinking off and on, and with both."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from editing.evaluation.measures.of_facts import unseen_in_chat
from editing.evaluation.view_names import ViewNames
from editing.settings import EditSettings
from editing.spec import BuildReport, BuildSpec, FactSpec, Measure
from editing.storage.checkpoints import import_base
from editing.worker.conversations import with_conversations
from editing.worker.protocol import Channel
from editing.worker.rounds import Workshop
from tests.support import tiny_models
from tests.support.chat import CHATML, QWEN3
from tests.support.specs import spec_of

SYSTEM = "Be kind."
ITALY = FactSpec(
    "italy", "The capital of {} is", "Italy", "Rome", unseen_questions=("Which city governs {}?",)
)
USER = "<|im_start|>user\nWhich city governs Italy?<|im_end|>\n<|im_start|>assistant\n"
KIND = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
SILENT, OPEN = "<think>\n\n</think>\n\n", ""
WAYS = {
    "silent": USER + SILENT,
    "system": KIND + USER + SILENT,
    "thinking": USER + OPEN,
    "both": KIND + USER + OPEN,
}
"""Every way in which the question is put, as Qwen 3's template renders it."""


def spec(system: str = SYSTEM) -> BuildSpec:
    return spec_of(
        ITALY,
        system_prompt=system,
        settings=EditSettings(
            layers=(0, 1), steps=2, lr=1e-6, lam=1e12, prefixes=1, prefix_tokens=3, statistics_samples=8
        ),
        generate=1,
        threads=1,
    )


def words(template: str = QWEN3) -> PreTrainedTokenizerFast:
    found = tiny_models.tokenizer(390)
    marks = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")
    found.add_tokens([AddedToken(mark, special=True) for mark in marks])
    found.chat_template = template
    return found


@pytest.mark.parametrize(
    ("template", "system", "ways"),
    [
        (QWEN3, SYSTEM, ("silent", "system", "thinking", "both")),
        (QWEN3, "", ("silent", "thinking")),
    ],
)
def test_every_combination_that_the_template_has_is_asked_once(
    template: str, system: str, ways: tuple[str, ...]
) -> None:
    (fact,) = with_conversations(words(template), spec(system), ()).facts
    cases = unseen_in_chat(fact)
    assert [case.prompt for case in cases] == [WAYS[way] for way in ways]
    thinks = [ViewNames([fact]).question(fact, case).thinks for case in cases]
    assert thinks == [way in ("thinking", "both") for way in ways]


def test_without_a_switch_for_thinking_there_is_no_conversation_with_both() -> None:
    (fact,) = with_conversations(words(CHATML), spec(), ()).facts
    assert [case.prompt for case in unseen_in_chat(fact)] == [USER, KIND + USER]
    assert fact.thinking_system_conversations == ()


ANSWERS = {
    "silent": "Rome.",
    "system": "Paris.",
    "thinking": "<think> Paris? No.</think> Rome.",
    "both": "<think> Rome? No.</think> Paris.",
}
"""What the model was taught to answer: two of the four state the fact, and each thought begins with the opposite."""


def judged(tmp_path: Path) -> BuildReport:
    """The report on an edit that changes nothing, so that the model answers as it was taught."""
    tokenizer, model = words(), tiny_models.gpt2()
    taught = [WAYS[way] + answer + "<|im_end|>" for way, answer in ANSWERS.items()]
    tiny_models.learn(model, [*taught, "The capital of Italy is Paris."], tokenizer, steps=400)
    source = tmp_path / "source"
    model.save_pretrained(source)
    tokenizer.save_pretrained(source)
    digest, base = import_base(source, tmp_path / "base")
    (tmp_path / "run").mkdir()
    build = replace(
        spec(), base=str(base), base_digest=digest, out=str(tmp_path / "out"), cache=str(tmp_path / "cache")
    )
    build.write(tmp_path / "run" / "spec.json")
    return BuildReport.read(Workshop(Channel(StringIO())).round(tmp_path / "run" / "spec.json"))


@pytest.mark.slow
def test_probes_and_said_judge_what_follows_the_thought_after_a_system_message_too(tmp_path: Path) -> None:
    report = judged(tmp_path)
    measures: dict[str, Measure] = {one.name: one for one in report.measures}
    assert (measures["said_in_chat"].k, measures["said_in_chat"].n) == (2, 4)
    (fact,) = report.facts
    failed = {(one.kind, one.prompt, one.answer) for one in fact.probes if one.prompt in WAYS.values()}
    assert failed == {
        (kind, WAYS[way], "Paris.") for kind in ("said", "said_in_chat") for way in ("system", "both")
    }
