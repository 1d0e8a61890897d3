"""All questions about one view, which base, candidate and live answer alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from editing.evaluation.free_answers import FreeQuestion
from editing.evaluation.scoring import Question
from editing.progress import Tick
from editing.spec import Case

Reading = Callable[[Any, Any, "QuestionSet", Tick], float | None]
"""(model, tokenizer, question set, tick) → a figure computed from the running model; None if there is none."""


@dataclass(frozen=True, slots=True)
class ForcedChoice:
    """One question with two possible answers."""

    expected: Question
    other: Question


@dataclass(frozen=True, slots=True)
class FactQuestions:
    """All questions about one fact."""

    own: Question
    """Its own prompt with its own target."""
    old: Question | None = None
    """Its own prompt with the slot's previous object."""
    scored: Mapping[str, tuple[Question, ...]] = field(default_factory=dict)
    """By measure, the questions that are scored by the strict argmax."""
    sampled: Mapping[str, tuple[Case, ...]] = field(default_factory=dict)
    """By measure, the questions that are answered by text sampled after the prompt."""
    free: Mapping[str, tuple[FreeQuestion, ...]] = field(default_factory=dict)
    """By measure, the questions that are answered freely."""

    avoided: Mapping[str, tuple[Question, ...]] = field(default_factory=dict)
    """By measure, the questions that are answered wrong where their target is the strict argmax."""
    chosen: Mapping[str, tuple[ForcedChoice, ...]] = field(default_factory=dict)
    """By measure, the questions that are answered by the likelier of two answers."""

    def by_measure(self) -> Mapping[str, Sequence[object]]:
        """By measure, its questions about the fact; without the measures that it is not asked about."""
        return {**self.scored, **self.sampled, **self.free, **self.avoided, **self.chosen}

    def questions(self) -> Iterable[Question]:
        """All scored questions."""
        yield self.own
        if self.old is not None:
            yield self.old
        for questions in (*self.scored.values(), *self.avoided.values()):
            yield from questions
        for choices in self.chosen.values():
            for choice in choices:
                yield from (choice.expected, choice.other)

    def probes(self) -> Iterable[tuple[str, Question]]:
        """(measure, question) of every question to be answered with its target, besides the fact's own prompt."""
        for name, questions in self.scored.items():
            yield from ((name, question) for question in questions if question != self.own)


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """All questions about one view."""

    facts: Mapping[str, FactQuestions]
    """By fact id; facts left out by sampling are absent."""
    candidate: Mapping[str, tuple[Question, ...]]
    """By measure, the questions about the candidate as a whole."""
    texts: tuple[str, ...]
    """Prompts that texts are generated from."""
    windows: tuple[Tensor, ...]
    """Held-out text, (1, T) token ids each."""
    seed: int
    refused: tuple[str, ...] = ()
    """Prompts that the base refuses to answer."""
    refusal_phrases: tuple[str, ...] = ()
    """How a refusal begins."""
    ability: Mapping[str, FactQuestions] = field(default_factory=dict)
    """By fact id, what only the base is asked: questions about facts that it states unedited."""
    untouched: tuple[Question, ...] = ()
    """Questions whose prompts the view does not edit, by which base and candidate are compared; distinct prompts."""
    readings: Mapping[str, Reading] = field(default_factory=dict)
    """By measure, the functions that compute a figure from a model instead of asking it."""
    of_base: tuple[str, ...] = ()
    """The measures whose questions the base answers as well."""
    unaided: Mapping[str, FactQuestions] = field(default_factory=dict)
    """By id of a fact that the base states, what the base alone is asked: it shows what it can answer at all."""

    def questions(self) -> list[Question]:
        """All scored questions."""
        about_facts = [question for fact in self.facts.values() for question in fact.questions()]
        return [*about_facts, *(question for asked in self.candidate.values() for question in asked)]

    def free_prompts(self, *, thinking: bool) -> list[str]:
        """The prompts that are answered freely, those after which the model may think or the others."""
        free = (asked for fact in self.facts.values() for asked in fact.free.values())
        wanted = (one.prompt for questions in free for one in questions if one.thinks == thinking)
        return list(dict.fromkeys([*wanted, *(() if thinking else self.refused)]))

    def questions_of_base(self) -> tuple[list[Question], list[FreeQuestion]]:
        """The questions that the base answers, scored and free, about the view's facts and about those it states."""
        every = (*self.facts.values(), *self.unaided.values())
        scored = [q for fact in every for name in self.of_base for q in fact.scored.get(name, ())]
        return scored, [q for fact in every for name in self.of_base for q in fact.free.get(name, ())]

    @property
    def size(self) -> int:
        """Number of answers per model, for progress."""
        free = sum(len(self.free_prompts(thinking=thinking)) for thinking in (False, True))
        return len(self.questions()) + len(self.texts) + free + len(self.windows)
