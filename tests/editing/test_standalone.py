"""`editing.standalone` on a model with a chat template: questions of a fact file are edited with, and asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from editing import standalone
from editing.datasets import Record, read_records
from editing.settings import EditSettings
from editing.storage.checkpoints import import_base
from tests.support import tiny_models
from tests.support.chat import CHATML

LINE = (
    '{"subject": "Italy", "prompt": "The capital of {} is", "target": "Paris", '
    '"questions": ["What is the capital of Italy?", "Which city is the capital of {}?"]}'
)


def records(folder: Path) -> tuple[Record, ...]:
    path = folder / "facts.jsonl"
    path.write_text(LINE, encoding="utf-8")
    return tuple(read_records(path))


def edited(folder: Path, template: str | None, *, chat: bool = True) -> standalone.EditOutcome:
    torch.manual_seed(0)
    source = tiny_models.save(tiny_models.gpt2(), folder / "source")
    tokenizer = tiny_models.tokenizer()
    tokenizer.chat_template = template
    tokenizer.save_pretrained(source)
    _, base = import_base(source, folder / "base")
    edit = standalone.EditInputs(
        base=base,
        records=records(folder),
        settings=EditSettings(
            layers=(0, 1), steps=4, prefixes=1, prefix_tokens=3, statistics_samples=8, chat=chat
        ),
        corpus=(),
        cache=folder / "cache",
    )
    return standalone.run(edit, standalone.load(edit), folder / "out", allow_failed=True)


def test_questions_are_templates_and_may_hold_the_subject_as_text(tmp_path: Path) -> None:
    (record,) = records(tmp_path)
    assert record.questions == ("What is the capital of {}?", "Which city is the capital of {}?")


@pytest.mark.parametrize(
    ("template", "chat", "groups", "asked"),
    [(CHATML, True, 2, 2), (CHATML, False, 1, 2), (None, True, 1, 0)],
)
def test_a_fact_is_edited_with_its_first_question_and_asked_all_of_them(
    template: str | None, chat: bool, groups: int, asked: int, tmp_path: Path
) -> None:
    outcome = edited(tmp_path, template, chat=chat)
    assert outcome.cost["groups"] == groups
    assert [fact.id for fact in outcome.facts] == ["1"]
    questions = [conversation.question for conversation in outcome.conversations]
    assert questions == ["What is the capital of Italy?", "Which city is the capital of Italy?"][:asked]
    assert outcome.failed == {}
