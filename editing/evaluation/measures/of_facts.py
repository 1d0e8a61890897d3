"""Measures about single facts."""

from __future__ import annotations

from collections.abc import Sequence

from editing.evaluation.measures.declaration import FactMeasure
from editing.requests import render
from editing.spec import Case, FactSpec


def own_prompt(fact: FactSpec) -> Sequence[Case]:
    """The prompt that the fact is edited with."""
    return (Case(render(fact.prompt, fact.subject), fact.target),)


def restated(fact: FactSpec) -> Sequence[Case]:
    """All other prompts that state the fact: its paraphrases, and the fact in the inverse direction."""
    return (*(Case(prompt, fact.target) for prompt in fact.paraphrases), *fact.reversed)


FACT_MEASURES: tuple[FactMeasure, ...] = (
    FactMeasure(name="efficacy", asks=own_prompt),
    FactMeasure(name="paraphrase", asks=restated),
    FactMeasure(
        name="neighbourhood", asks=lambda fact: fact.neighbours, expects="unchanged", probe="neighbour"
    ),
    FactMeasure(name="same_subject", asks=lambda fact: fact.same_subject, expects="unchanged"),
    FactMeasure(name="retention", asks=own_prompt, of="live"),
    FactMeasure(name="known_retention", asks=own_prompt, of="known"),
    FactMeasure(name="generation", asks=own_prompt, answered="sampled"),
)
