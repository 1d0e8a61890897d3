"""Facts as questions in a conversation, for a base with a chat template.

A subject has different keys in a completion and in a question rendered with the template (cosine 0.6 to 0.86,
measured on SmolLM2-135M-Instruct), so an edit of the completion alone often has no effect in a conversation, or
affects another subject.  The question therefore becomes a further request of the fact, answered by a sentence.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from editing.model.chat import asked, opening, statement, switches_thinking, takes_system
from editing.requests import PLACEHOLDER, render
from editing.spec import BuildSpec, FactSpec, Wording


def with_conversations(tokenizer: Any, spec: BuildSpec, known: Collection[str]) -> BuildSpec:
    """`spec` with the questions of every fact that is not `known` (by id) added to its further wordings, and the
    questions that every fact should leave alone added to what is kept.

    Without a chat template nothing is added; if the settings disable it, no fact is edited with its question.
    """
    if opening(tokenizer) is None:
        return spec
    facts = [_with_kept_questions(tokenizer, fact) for fact in spec.facts]
    system = spec.system_prompt if takes_system(tokenizer, spec.system_prompt) else ""
    facts = [
        _with_unseen_questions(tokenizer, fact, edited=spec.settings.chat, system=system) for fact in facts
    ]
    if spec.settings.chat:
        facts = [fact if fact.id in known else _with_questions(tokenizer, fact) for fact in facts]
    return spec if tuple(facts) == spec.facts else replace(spec, facts=tuple(facts))


def _with_kept_questions(tokenizer: Any, fact: FactSpec) -> FactSpec:
    prompts = (asked(tokenizer, question) for question in fact.kept_questions)
    usable = tuple(prompt for prompt in prompts if prompt.count(PLACEHOLDER) == 1)
    return replace(fact, kept=(*fact.kept, *usable), kept_questions=())


def _with_unseen_questions(tokenizer: Any, fact: FactSpec, *, edited: bool, system: str) -> FactSpec:
    """A fact that is new or examined with the conversations that judge it, which no edit is made with.

    `edited`: an edit is made with its questions.  `system`: the system message of further conversations.
    """
    if fact.in_live and not fact.examined:
        return fact
    questions = fact.unseen_questions if edited else (*fact.questions, *fact.unseen_questions)
    put = [render(question, fact.subject) for question in dict.fromkeys(questions)]
    after = put if system else []
    thought = put if switches_thinking(tokenizer) else []
    both = after if thought else []
    return replace(
        fact,
        conversations=(*fact.conversations, *(asked(tokenizer, one) for one in put)),
        system_conversations=(
            *fact.system_conversations,
            *(asked(tokenizer, one, system=system) for one in after),
        ),
        thinking_conversations=(
            *fact.thinking_conversations,
            *(asked(tokenizer, one, thinking=True) for one in thought),
        ),
        thinking_system_conversations=(
            *fact.thinking_system_conversations,
            *(asked(tokenizer, one, thinking=True, system=system) for one in both),
        ),
        unseen_questions=(),
    )


def _with_questions(tokenizer: Any, fact: FactSpec) -> FactSpec:
    prompts = (asked(tokenizer, question) for question in fact.questions)
    usable = (prompt for prompt in prompts if prompt.count(PLACEHOLDER) == 1)
    answer = sentence(fact)
    return replace(
        fact, further=(*fact.further, *(Wording(prompt, fact.subject, answer) for prompt in usable))
    )


def sentence(fact: FactSpec) -> str:
    """The fact as a sentence, such as `The capital of France is Paris.`"""
    return statement(render(fact.prompt, fact.subject), fact.target)
