"""With a chat template, a fact is edited with its question too; what cannot be put through it costs nothing."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch

from editing.evaluation.measures.of_facts import unseen, unseen_in_chat
from editing.model.chat import asked, opening
from editing.requests import render
from editing.settings import EditSettings
from editing.spec import BuildReport, BuildSpec, FactSpec, Wording
from editing.storage.checkpoints import import_base
from editing.worker.conversations import sentence, with_conversations
from editing.worker.protocol import Channel
from editing.worker.rounds import Workshop
from tests.support import tiny_models
from tests.support.chat import CHATML
from tests.support.specs import spec_of

ITALY = FactSpec("italy", "The capital of {} is", "Italy", "Paris", questions=("What is the capital of {}?",))
QUESTION = "<|im_start|>user\nWhat is the capital of {}?<|im_end|>\n<|im_start|>assistant\n"
SETTINGS = EditSettings(
    layers=(0, 1), steps=6, lr=0.2, clamp=4.0, lam=1.0, prefixes=1, prefix_tokens=3, statistics_samples=8
)


def spec(*facts: FactSpec, chat: bool = True) -> BuildSpec:
    return spec_of(*facts, settings=replace(SETTINGS, chat=chat))


def test_the_question_is_answered_with_the_fact_as_a_sentence() -> None:
    tokenizer = tiny_models.tokenizer()
    tokenizer.chat_template = CHATML
    (fact,) = with_conversations(tokenizer, spec(ITALY), ()).facts
    assert fact.further == (Wording(QUESTION, "Italy", "The capital of Italy is Paris."),)
    assert fact.wordings()[0] == Wording(ITALY.prompt, "Italy", "Paris"), "the fact's own prompt stays first"


@pytest.mark.parametrize("chat", [True, False])
def test_other_relations_are_kept_in_the_form_of_a_conversation_too(chat: bool) -> None:
    tokenizer = tiny_models.tokenizer()
    tokenizer.chat_template = CHATML
    plain = ("The language of {} is",)
    keeping = replace(ITALY, kept=plain, kept_questions=("What do people speak in {}?",))
    (fact,) = with_conversations(tokenizer, spec(keeping, chat=chat), ()).facts
    assert fact.kept == (*plain, QUESTION.replace("is the capital of {}", "do people speak in {}"))
    tokenizer.chat_template = None
    (fact,) = with_conversations(tokenizer, spec(keeping, chat=chat), ()).facts
    assert fact.kept == plain


@pytest.mark.parametrize(
    ("template", "chat", "known"),
    [
        (None, True, ()),
        (CHATML, True, ("italy",)),
        ("{{ raise_exception('') }}", True, ()),
    ],
)
def test_nothing_is_added_without_template_and_for_what_is_known(
    template: str | None, chat: bool, known: tuple[str, ...]
) -> None:
    tokenizer = tiny_models.tokenizer()
    tokenizer.chat_template = template
    assert with_conversations(tokenizer, spec(ITALY, chat=chat), known).facts == (ITALY,)


def test_a_question_that_is_not_edited_with_judges_the_fact() -> None:
    tokenizer = tiny_models.tokenizer()
    tokenizer.chat_template = CHATML
    more = replace(ITALY, unseen_questions=("Which city governs {}?",))
    for chat, put in (
        (True, ["Which city governs Italy?"]),
        (False, [*_put(ITALY), "Which city governs Italy?"]),
    ):
        (fact,) = with_conversations(tokenizer, spec(more, chat=chat), ()).facts
        assert list(fact.conversations) == [asked(tokenizer, question) for question in put]
        assert bool(fact.further) == chat
        assert {case.prompt for case in unseen(fact)} >= {*fact.conversations[:2]}


def test_a_template_with_a_switch_for_thinking_is_asked_both_ways() -> None:
    tokenizer = tiny_models.tokenizer()
    tokenizer.chat_template = CHATML + "{% if not enable_thinking %}<think></think>{% endif %}"
    more = replace(ITALY, unseen_questions=("Which city governs {}?",))
    (fact,) = with_conversations(tokenizer, spec(more), ()).facts
    (silent,), (thinking,) = fact.conversations, fact.thinking_conversations
    assert (silent.endswith("</think>"), thinking.endswith("assistant\n")) == (True, True)
    assert {case.prompt for case in unseen(fact)} == {silent, thinking}
    tokenizer.chat_template = CHATML
    (fact,) = with_conversations(tokenizer, spec(more), ()).facts
    assert (len(fact.conversations), fact.thinking_conversations) == (1, ())


@pytest.mark.parametrize("chat", [True, False])
def test_a_template_that_takes_a_system_message_is_also_asked_after_one(chat: bool) -> None:
    tokenizer = tiny_models.tokenizer()
    tokenizer.chat_template = CHATML
    more = replace(ITALY, unseen_questions=("Which city governs {}?",))
    (fact,) = with_conversations(
        tokenizer, replace(spec(more, chat=chat), system_prompt="Be kind."), ()
    ).facts
    assert fact.system_conversations == tuple(
        f"<|im_start|>system\nBe kind.<|im_end|>\n{one}" for one in fact.conversations
    )
    asked_in_chat = [case.prompt for case in unseen_in_chat(fact)]
    assert asked_in_chat == [*fact.conversations, fact.system_conversations[0]]
    (silent,) = with_conversations(tokenizer, spec(more, chat=chat), ()).facts
    assert silent == replace(fact, system_conversations=())


def _put(fact: FactSpec) -> list[str]:
    return [render(question, fact.subject) for question in fact.questions]


def test_a_template_that_holds_braces_of_its_own_cannot_be_filled_and_is_left_aside() -> None:
    tokenizer = tiny_models.tokenizer()
    tokenizer.chat_template = "tools: {}\n" + CHATML.replace("{%", "{%", 1)
    assert with_conversations(tokenizer, spec(ITALY), ()).facts[0].further == ()


def test_a_bos_token_that_the_tokenizer_writes_itself_is_not_written_twice() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_models.tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    tokenizer.chat_template = "{{ bos_token }}" + CHATML
    before = opening(tokenizer)
    assert before == "<|im_start|>user\n"
    ids = tokenizer(asked(tokenizer, "Who?"))["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == 1


def test_a_target_with_a_full_stop_gets_no_second_one() -> None:
    assert sentence(replace(ITALY, target="Washington D.C.")) == "The capital of Italy is Washington D.C."


def test_a_build_has_a_key_group_for_the_completion_and_one_for_the_question(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = tiny_models.save(tiny_models.gpt2(), tmp_path / "source")
    tokenizer = tiny_models.tokenizer()
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(source)
    digest, base = import_base(source, tmp_path / "base")
    workshop = Workshop(Channel(StringIO()))
    groups = {}
    for chat in (True, False):
        directory = tmp_path / "runs" / str(chat)
        directory.mkdir(parents=True)
        build = replace(
            spec(ITALY, chat=chat),
            base=str(base),
            base_digest=digest,
            out=str(tmp_path / "checkpoints" / str(chat)),
            cache=str(tmp_path / "cache"),
            generate=0,
            threads=1,
        )
        build.write(directory / "spec.json")
        report = BuildReport.read(workshop.round(directory / "spec.json"))
        assert not report.failures
        groups[chat] = report.cost.groups_optimised + report.cost.groups_cached
    assert groups == {True: 2, False: 1}
