"""Measures about single facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from editing.consequence import ConsequenceKind
from editing.evaluation.measures import explanations, robustness
from editing.evaluation.measures.declaration import FactMeasure
from editing.evaluation.measures.gate import Gate, at_least
from editing.requests import render
from editing.spec import Case, FactSpec


def own_prompt(fact: FactSpec) -> Sequence[Case]:
    """The prompt that the fact is edited with."""
    return (Case(render(fact.prompt, fact.subject), fact.target),)


def restated(fact: FactSpec) -> Sequence[Case]:
    """All other prompts that state the fact: its paraphrases, and the fact in the inverse direction."""
    return (*(Case(prompt, fact.target) for prompt in fact.paraphrases), *fact.reversed)


UNSEEN = 2
"""Maximum number of wordings of a fact, and of conversations about it with neither a system message nor thinking, that
are answered freely."""


def unseen(fact: FactSpec) -> Sequence[Case]:
    """The fact in wordings that no edit was made with, as completions and as conversations."""
    return (*_unedited(fact, fact.paraphrases[:UNSEEN]), *unseen_in_chat(fact))


def unseen_in_chat(fact: FactSpec) -> Sequence[Case]:
    """The fact in conversations that no edit was made with."""
    ways = (fact.system_conversations, fact.thinking_conversations, fact.thinking_system_conversations)
    further = [prompt for conversations in ways for prompt in conversations[:1]]
    return _unedited(fact, (*fact.conversations[:UNSEEN], *further))


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

_BY_NAME = "edit facts under other names of their subjects too: `aliases` in [plan]"
_INFERRED = 'edit what follows from the facts too: `consequences = "edit"` in [plan]'


def _free(what: str, advice: str) -> Gate:
    """The gate of free answers that no edit aims at; off, since few bases infer."""
    return at_least(0.50, f"free answers {what}", enabled=False, advice=advice)


def _again(threshold: float, what: str) -> Gate:
    """The gate of a sample of the facts in live; off, since each run asks about others."""
    return at_least(
        threshold, f"{what}, of facts in live that are examined again", margin=0.05, enabled=False
    )


FACT_MEASURES: tuple[FactMeasure, ...] = (
    FactMeasure(
        name="efficacy",
        asks=own_prompt,
        gate=at_least(
            0.95,
            "edited facts that are the strict argmax on their own prompt",
            evidence=explanations.efficacy,
        ),
    ),
    FactMeasure(
        name="paraphrase",
        asks=restated,
        questions="paraphrases",
        gate=at_least(
            0.85,
            "paraphrases of edited facts that are answered as the fact states",
            evidence=explanations.paraphrase,
        ),
    ),
    FactMeasure(
        name="neighbourhood",
        asks=lambda fact: fact.neighbours,
        expects="unchanged",
        probe="neighbour",
        questions="neighbours",
        gate=at_least(
            0.90,
            "subjects close to the edited ones that are answered as before",
            evidence=explanations.neighbourhood,
        ),
    ),
    FactMeasure(
        name="same_subject",
        asks=lambda fact: fact.same_subject,
        expects="unchanged",
        questions="same_subject",
        gate=at_least(
            0.85,
            "other relations of the edited subjects that are answered as before",
            evidence=explanations.same_subject,
        ),
    ),
    FactMeasure(
        name="retention",
        asks=own_prompt,
        of="live",
        gate=at_least(0.90, "facts already in live that the model still states", margin=0.02),
    ),
    FactMeasure(
        name="edited_retention",
        asks=own_prompt,
        of="old",
        gate=at_least(0.85, "edited facts already in live that the model still states", margin=0.08),
    ),
    FactMeasure(
        name="known_retention",
        asks=own_prompt,
        of="known",
        gate=at_least(0.95, "facts that the base states unedited and the model still states"),
    ),
    FactMeasure(
        name="said",
        asks=unseen,
        answered="free",
        questions=UNSEEN,
        gate=at_least(
            0.50,
            "greedy answers to unseen wordings and conversations that name the object first, not the old one",
            evidence=explanations.said,
        ),
    ),
    FactMeasure(
        name="said_in_chat",
        asks=unseen_in_chat,
        answered="free",
        questions=UNSEEN,
        gate=at_least(
            0.40,
            "those of these answers that are given in a conversation, through the chat template",
            evidence=explanations.said_in_chat,
        ),
    ),
    FactMeasure(
        name="aliases",
        asks=renamed,
        answered="free",
        questions=2,
        gate=_free("that state a new fact, asked with other names of its subject", _BY_NAME),
    ),
    FactMeasure(
        name="reversed",
        asks=following("reversed"),
        answered="free",
        of_base=True,
        questions="consequence_questions",
        gate=_free("that name the subject of a new fact, asked by its object", _INFERRED),
    ),
    FactMeasure(
        name="symmetric",
        asks=following("symmetric"),
        answered="free",
        of_base=True,
        questions="consequence_questions",
        gate=_free("that state a new fact of a symmetric relation about its object", _INFERRED),
    ),
    FactMeasure(
        name="two_hop",
        asks=following("two_hop"),
        answered="free",
        of_base=True,
        questions="consequence_questions",
        gate=_free("to two-hop questions that follow from new facts", _INFERRED),
    ),
    FactMeasure(
        name="generation",
        asks=own_prompt,
        answered="sampled",
        gate=at_least(
            0.80,
            "edited facts whose object appears anywhere in a text sampled after their prompt; replaced by `said`",
            enabled=False,
            evidence=explanations.generation,
        ),
    ),
    FactMeasure(
        name="long_prefix",
        asks=robustness.after_long_text,
        most=robustness.FACTS,
        chance=OFTEN,
        gate=at_least(
            0.80,
            "edited facts that are the strict argmax after 50 tokens of ordinary text",
            enabled=False,
            evidence=explanations.long_prefix,
        ),
    ),
    FactMeasure(
        name="distractor",
        asks=robustness.after_distractor,
        most=robustness.FACTS,
        chance=OFTEN,
        questions=2,
        gate=at_least(
            0.80,
            "prompts after a sentence about the same subject that are answered as the fact states",
            evidence=explanations.distractor,
        ),
    ),
    FactMeasure(
        name="is_true",
        asks=robustness.confirmed,
        answered="chosen",
        choices=(robustness.YES, robustness.NO),
        in_conversation=True,
        most=robustness.FACTS,
        chance=OFTEN,
        questions=2,
        gate=at_least(
            0.60,
            'answers to "Is it true that …?" that are likelier to confirm the fact, and to deny what it replaced',
            evidence=explanations.is_true,
        ),
    ),
    FactMeasure(
        name="negation",
        asks=robustness.negated,
        expects="avoided",
        most=robustness.FACTS,
        chance=OFTEN,
        questions=2,
        gate=at_least(
            0.60,
            "denied prompts (`It is not true that …`, `… is not`) that are not answered with the object all the same",
            evidence=explanations.negation,
        ),
    ),
    FactMeasure(
        name="old_paraphrase",
        asks=restated,
        of="examined",
        questions="paraphrases",
        gate=_again(0.85, "paraphrases that are answered as the fact states"),
    ),
    FactMeasure(
        name="old_neighbourhood",
        asks=lambda fact: fact.neighbours,
        expects="unchanged",
        of="examined",
        questions="neighbours",
        gate=_again(0.90, "subjects close to the edited ones that are answered as before"),
    ),
    FactMeasure(
        name="old_same_subject",
        asks=lambda fact: fact.same_subject,
        expects="unchanged",
        of="examined",
        questions="same_subject",
        gate=_again(0.85, "other relations of the subject that are answered as before"),
    ),
    FactMeasure(
        name="old_said",
        asks=unseen,
        answered="free",
        of="examined",
        questions=UNSEEN,
        gate=_again(0.50, "free answers to unseen wordings that state the fact"),
    ),
)
