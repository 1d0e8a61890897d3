"""Measures about single facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from editing.consequence import ConsequenceKind
from editing.evaluation.measures import robustness
from editing.evaluation.measures.declaration import FactMeasure
from editing.requests import render
from editing.spec import Case, FactSpec


def own_prompt(fact: FactSpec) -> Sequence[Case]:
    """The prompt that the fact is edited with."""
    return (Case(render(fact.prompt, fact.subject), fact.target),)


def restated(fact: FactSpec) -> Sequence[Case]:
    """All other prompts that state the fact: its paraphrases, and the fact in the inverse direction."""
    return (*(Case(prompt, fact.target) for prompt in fact.paraphrases), *fact.reversed)


UNSEEN = 2
"""Maximum number of wordings of a fact, and of conversations about it without thinking, that are answered freely."""


def unseen(fact: FactSpec) -> Sequence[Case]:
    """The fact in wordings that no edit was made with, as completions and as conversations."""
    return (*_unedited(fact, fact.paraphrases[:UNSEEN]), *unseen_in_chat(fact))


def unseen_in_chat(fact: FactSpec) -> Sequence[Case]:
    """The fact in conversations that no edit was made with."""
    return _unedited(fact, (*fact.conversations[:UNSEEN], *fact.thinking_conversations[:1]))


def _unedited(fact: FactSpec, prompts: Sequence[str]) -> tuple[Case, ...]:
    edited = {render(wording.prompt, wording.subject) for wording in fact.wordings()}
    return tuple(Case(prompt, fact.target) for prompt in prompts if prompt not in edited)


def following(kind: ConsequenceKind) -> Callable[[FactSpec], Sequence[Case]]:
    """What follows from the fact in this way."""

    def asks(fact: FactSpec) -> Sequence[Case]:
        return tuple(Case(one.rendered, one.target) for one in fact.consequences if one.kind == kind)

    return asks


def renamed(fact: FactSpec) -> Sequence[Case]:
    """The fact with other names of its subject that no edit was made with."""
    return tuple(Case(prompt, fact.target) for prompt in fact.renamed)


OFTEN = 0.5
"""The chance of a question with two answers; from a base that answers others no more often, little can be expected."""

FACT_MEASURES: tuple[FactMeasure, ...] = (
    FactMeasure(name="efficacy", asks=own_prompt),
    FactMeasure(name="paraphrase", asks=restated),
    FactMeasure(
        name="neighbourhood", asks=lambda fact: fact.neighbours, expects="unchanged", probe="neighbour"
    ),
    FactMeasure(name="same_subject", asks=lambda fact: fact.same_subject, expects="unchanged"),
    FactMeasure(name="retention", asks=own_prompt, of="live"),
    FactMeasure(name="edited_retention", asks=own_prompt, of="old"),
    FactMeasure(name="known_retention", asks=own_prompt, of="known"),
    FactMeasure(name="generation", asks=own_prompt, answered="sampled"),
    FactMeasure(name="said", asks=unseen, answered="free"),
    FactMeasure(name="said_in_chat", asks=unseen_in_chat, answered="free"),
    FactMeasure(name="aliases", asks=renamed, answered="free"),
    FactMeasure(name="reversed", asks=following("reversed"), answered="free", of_base=True),
    FactMeasure(name="symmetric", asks=following("symmetric"), answered="free", of_base=True),
    FactMeasure(name="two_hop", asks=following("two_hop"), answered="free", of_base=True),
    FactMeasure(name="long_prefix", asks=robustness.after_long_text, most=robustness.FACTS, chance=OFTEN),
    FactMeasure(name="distractor", asks=robustness.after_distractor, most=robustness.FACTS, chance=OFTEN),
    FactMeasure(
        name="is_true",
        asks=robustness.confirmed,
        answered="chosen",
        choices=(robustness.YES, robustness.NO),
        in_conversation=True,
        most=robustness.FACTS,
        chance=OFTEN,
    ),
    FactMeasure(
        name="negation",
        asks=robustness.negated,
        expects="avoided",
        most=robustness.FACTS,
        chance=OFTEN,
    ),
    FactMeasure(name="old_paraphrase", asks=restated, of="examined"),
    FactMeasure(
        name="old_neighbourhood", asks=lambda fact: fact.neighbours, expects="unchanged", of="examined"
    ),
    FactMeasure(
        name="old_same_subject", asks=lambda fact: fact.same_subject, expects="unchanged", of="examined"
    ),
    FactMeasure(name="old_said", asks=unseen, answered="free", of="examined"),
)
