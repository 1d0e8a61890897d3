"""Which questions the robustness measures ask, of the view's facts and of facts that the base states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from editing.evaluation.ability import Contexts, stated_by_base
from editing.evaluation.cases import AskedOfFacts, Known, asked_of, usable
from editing.evaluation.measures.of_facts import FACT_MEASURES
from editing.evaluation.scoring import Question
from editing.model import chat
from editing.spec import BuildSpec, Case, FactSpec


def robustness(
    model: Any, tokenizer: Any, spec: BuildSpec, known: Known, contexts: Contexts, facts: Sequence[FactSpec]
) -> tuple[AskedOfFacts, AskedOfFacts]:
    """What the robustness measures ask about `facts`, and what they ask the base about facts that it states."""
    measures = [measure for measure in FACT_MEASURES if measure.chance is not None]
    most = max((measure.most or 0 for measure in measures), default=0)
    able = stated_by_base(facts, known, most, spec.settings.seed)
    about = asked_of(contexts.of(facts, known), spec, known, measures)
    ability = [(fact, m, tuple(m.asks(fact))) for fact in contexts.of(able, known) for m in measures]
    both = [usable(model, tokenizer, _in_conversation(tokenizer, some)) for some in (about, ability)]
    return both[0], both[1]


def _in_conversation(tokenizer: Any, asked: AskedOfFacts) -> AskedOfFacts:
    """`asked` with the questions of some measures put through the chat template, or marked as questions."""

    def put(prompt: str) -> str:
        return chat.asked(tokenizer, prompt) if chat.opening(tokenizer) is not None else f"{prompt}\nAnswer:"

    return [
        (
            fact,
            m,
            tuple(replace(case, prompt=put(case.prompt)) for case in cases) if m.in_conversation else cases,
        )
        for fact, m, cases in asked
    ]


def statements(
    tokenizer: Any, asked: AskedOfFacts, unchanged: Mapping[Case, Question]
) -> dict[str, list[str]]:
    """Fact id → what the base states about its subject besides the fact, as sentences."""
    return {
        fact.id: [
            chat.statement(case.prompt, answer)
            for case in cases
            if case in unchanged
            and (answer := tokenizer.decode(unchanged[case].target, skip_special_tokens=True).strip())
        ]
        for fact, measure, cases in asked
        if measure.name == "same_subject"
    }
