"""Questions in conversations that no edit is about, and what of their answers is as before.

Word for word is one measure.  The other is the fact: the first name of the kind that was asked for (a capital, a
language, a currency, …) is the same.  Questions to which the base names none count only for the first measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import chat_world as world
from benchmarks.chat_world import ANSWERED, NAMES, Fact
from editing.evaluation.conversation import chat_answers
from editing.evaluation.words import FoldedText

TOKENS = 24
"""Maximum length of an answer."""
NEAR = 24
"""Subjects that are not edited and are asked about; each in the relation that is edited."""
FURTHER = 12
"""Of these, how many are asked about in other relations too."""


@dataclass(frozen=True)
class Untouched:
    """A question that no edit is about."""

    question: str
    names: tuple[str, ...]
    """What may answer it."""
    kind: str
    """`near`: the edited relation of another subject; `other`: another relation of it; `unrelated`."""


@dataclass(frozen=True)
class Unchanged:
    """Shares of answers that are as before."""

    text: float
    """Word for word."""
    fact: float
    """Of those in which the base names something: the same is named first."""
    near: float
    """Of the subjects next to the edited ones: the base's object is still named first."""
    unrelated_text: float
    unrelated_fact: float


def stated(model: Any, tokenizer: Any, facts: Sequence[Fact]) -> list[Fact]:
    """Those of `facts` that the model states when it is asked about them in a conversation."""
    questions = [fact.said(fact.asks.questions[0]) for fact in facts]
    said = chat_answers(model, tokenizer, questions, tokens=TOKENS)
    return [
        fact for fact, text in zip(facts, said, strict=True) if first_named(text, _objects(fact)) == fact.new
    ]


def untouched(near: Sequence[Fact]) -> list[Untouched]:
    """The questions about subjects that are not edited, which the base states, and about things unrelated."""
    chosen = near[:NEAR]
    own = [Untouched(fact.said(fact.asks.questions[0]), _objects(fact), "near") for fact in chosen]
    other = [
        Untouched(fact.said(template), NAMES[kind], "other")
        for fact in chosen[:FURTHER]
        for template, kind in fact.asks.other_questions
    ]
    return [*own, *other, *(Untouched(text, names, "unrelated") for text, names in ANSWERED.items())]


def answered(model: Any, tokenizer: Any, asked: Sequence[Untouched]) -> list[str]:
    """The first sentence of each answer."""
    return chat_answers(model, tokenizer, [one.question for one in asked], tokens=TOKENS)


def unchanged(asked: Sequence[Untouched], before: Sequence[str], after: Sequence[str]) -> Unchanged:
    """Compare the answers of two models to the same questions."""
    same = [one == other for one, other in zip(before, after, strict=True)]
    named = [first_named(text, one.names) for one, text in zip(asked, before, strict=True)]
    now = [first_named(text, one.names) for one, text in zip(asked, after, strict=True)]
    kept = [(one.kind, was == then) for one, was, then in zip(asked, named, now, strict=True) if was]
    return Unchanged(
        text=share(same),
        fact=share([keeps for _, keeps in kept]),
        near=share([keeps for kind, keeps in kept if kind == "near"]),
        unrelated_text=share(
            [one for case, one in zip(asked, same, strict=True) if case.kind == "unrelated"]
        ),
        unrelated_fact=share([keeps for kind, keeps in kept if kind == "unrelated"]),
    )


def changes(
    asked: Sequence[Untouched], before: Sequence[str], after: Sequence[str], most: int = 12
) -> list[tuple[str, str, str]]:
    """(question, answer before, answer after) of some questions whose answer is not word for word as before."""
    found = zip(asked, before, after, strict=True)
    return [(one.question, was, now) for one, was, now in found if was != now][:most]


def first_named(text: str, names: Sequence[str]) -> str:
    """The name that is first in `text`, the longer one of two that begin together; empty if there is none."""
    folded = FoldedText(text)
    found = [(start, start - end, name) for name in names for start, end in folded.spans(name)]
    return min(found, default=(0, 0, ""))[2]


def share(values: Sequence[bool]) -> float:
    return round(sum(values) / len(values), 3) if values else 0.0


def _objects(fact: Fact) -> tuple[str, ...]:
    return NAMES[fact.relation]


def asked_about(model: Any, tokenizer: Any, facts: Sequence[Fact]) -> list[Untouched]:
    """The questions that go with edits of `facts`; the base is asked first which neighbours it states."""
    return untouched(stated(model, tokenizer, world.rest(facts)))
