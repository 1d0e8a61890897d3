"""Everything a model is asked about one view: base, candidate and live answer the same questions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from editing.evaluation.scoring import Question
from editing.progress import Tick
from editing.spec import Case

Reading = Callable[[Any, Any, "QuestionSet", Tick], float | None]
"""(model, tokenizer, question set, tick) → a figure that is read off the running model; None: it has none."""


@dataclass(frozen=True, slots=True)
class FactQuestions:
    """What is asked about one fact."""

    own: Question
    """Its own prompt with its own target."""
    old: Question | None = None
    """Its own prompt with the slot's previous object."""
    scored: Mapping[str, tuple[Question, ...]] = field(default_factory=dict)
    """By measure, what is answered right or wrong by the strict argmax."""
    sampled: Mapping[str, tuple[Case, ...]] = field(default_factory=dict)
    """By measure, what is answered by text sampled after the prompt."""

    def questions(self) -> Iterable[Question]:
        """All that is scored."""
        yield self.own
        if self.old is not None:
            yield self.old
        for questions in self.scored.values():
            yield from questions

    def probes(self) -> Iterable[tuple[str, Question]]:
        """(measure, question) of everything that is scored besides its own prompt."""
        for name, questions in self.scored.items():
            yield from ((name, question) for question in questions if question != self.own)


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """All questions about one view."""

    facts: Mapping[str, FactQuestions]
    """By fact id; a fact that was sampled out is absent."""
    candidate: Mapping[str, tuple[Question, ...]]
    """By measure, what is asked of the candidate as a whole."""
    texts: tuple[str, ...]
    """Prompts that texts are generated from."""
    windows: tuple[Tensor, ...]
    """Held-out text, (1, T) token ids each."""
    seed: int
    readings: Mapping[str, Reading] = field(default_factory=dict)
    """By measure, what is read off a model rather than asked."""

    def questions(self) -> list[Question]:
        """All that is scored."""
        about_facts = [question for fact in self.facts.values() for question in fact.questions()]
        return [*about_facts, *(question for asked in self.candidate.values() for question in asked)]

    @property
    def size(self) -> int:
        """Number of answers that one model gives, for progress."""
        return len(self.questions()) + len(self.texts) + len(self.windows)
