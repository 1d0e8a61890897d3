"""The outcome of each fact of a one-shot edit, and the published scores if the data set allows them.

The model answers the same questions before and after the edit: each fact's own prompt, its paraphrases and
its neighbours, with the new answer and the old one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from editing.datasets import Record
from editing.evaluation.metrics import answers
from editing.evaluation.published import CounterFactCase, PromptAnswer, counterfact, zsre_accuracy
from editing.evaluation.scoring import Score, encode_targets, score
from editing.progress import Tick, uncounted


@dataclass(frozen=True, slots=True)
class FactOutcome:
    """One fact, before and after."""

    id: str
    prompt: str
    target: str
    previous: str | None
    before: str
    """The model's greedy answer."""
    after: str
    p_before: float
    """Length-normalised probability of the target on the prompt."""
    p_after: float
    said_before: bool
    """All target tokens are the strict argmax."""
    said: bool


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over facts, in [0, 1]; None if no fact has such prompts or no previous object."""

    strict: float
    """Share of facts whose target is the strict argmax on their own prompt."""
    efficacy: float | None
    """ES: P[new] > P[old] on the edited prompt."""
    paraphrase: float | None
    """PS: the same for paraphrases."""
    neighbourhood: float | None
    """NS: P[answer] > P[new] on neighbours' prompts."""
    score: float | None
    """S: the harmonic mean of ES, PS and NS."""
    accuracy: float
    """zsRE's efficacy: the share of target tokens that are top-1, teacher-forced."""
    paraphrase_accuracy: float | None
    """The same for paraphrases."""
    specificity: float | None
    """The same for the answers of neighbours."""


@dataclass(frozen=True)
class Sheet:
    """The questions, and one model's answers."""

    records: Sequence[Record]
    answers: Sequence[str]
    """Greedy answers to the facts' own prompts."""
    found: dict[PromptAnswer, Score]

    def scores(self) -> Scores:
        """The published scores, over the prompts that were asked."""
        own = [self._own(record) for record in self.records]
        cases = [
            self._case(record, record.previous) for record in self.records if record.previous is not None
        ]
        published = counterfact(cases, self.found)
        return Scores(
            strict=sum(self.found[pair].strict for pair in own) / len(own),
            efficacy=published.efficacy,
            paraphrase=published.paraphrase,
            neighbourhood=published.neighbourhood,
            score=published.score,
            accuracy=sum(self.found[pair].accuracy for pair in own) / len(own),
            paraphrase_accuracy=self._accuracy(lambda r: [(p, r.request.target) for p in r.paraphrases]),
            specificity=self._accuracy(lambda r: list(r.neighbours)),
        )

    def _own(self, record: Record) -> PromptAnswer:
        return record.request.rendered, record.request.target

    def _case(self, record: Record, previous: str) -> CounterFactCase:
        """The record as a case of the published scores, with the prompts that were asked."""
        prompt, target = self._own(record)
        return CounterFactCase(
            prompt,
            new=target,
            old=previous,
            paraphrases=tuple(p for p in record.paraphrases if (p, target) in self.found),
            neighbours=tuple(pair for pair in record.neighbours if pair in self.found),
        )

    def _accuracy(self, pairs: Callable[[Record], list[PromptAnswer]]) -> float | None:
        asked = [[pair for pair in pairs(record) if pair in self.found] for record in self.records]
        return zsre_accuracy(asked, self.found)


def questions(records: Sequence[Record], *, probes: bool) -> list[PromptAnswer]:
    """All distinct (prompt, answer) pairs to score; without `probes` only the facts' own prompts."""
    pairs: dict[PromptAnswer, None] = {}
    for record in records:
        target, previous = record.request.target, record.previous
        objects = [target, *([previous] if previous is not None else [])]
        for prompt in (record.request.rendered, *(record.paraphrases if probes else ())):
            pairs |= dict.fromkeys((prompt, answer) for answer in objects)
        for prompt, answer in record.neighbours if probes else ():
            pairs |= dict.fromkeys([(prompt, answer), (prompt, target)])
    return list(pairs)


def answered(
    model: Any,
    tokenizer: Any,
    records: Sequence[Record],
    pairs: Sequence[PromptAnswer],
    *,
    tick: Tick = uncounted,
) -> Sheet:
    """The answers of `model`; `tick` counts at most `len(records) + len(pairs)` answers."""
    scores = score(model, encode_targets(tokenizer, pairs), tick=tick)
    greedy = answers(model, tokenizer, [record.request.rendered for record in records], tick=tick)
    return Sheet(records, greedy, dict(zip(pairs, scores, strict=True)))


def outcomes(before: Sheet, after: Sheet) -> tuple[FactOutcome, ...]:
    """The outcomes, in the file's order."""
    return tuple(
        FactOutcome(
            id=record.request.id,
            prompt=record.request.rendered,
            target=record.request.target,
            previous=record.previous,
            before=said_before,
            after=said_after,
            p_before=before.found[pair].probability,
            p_after=after.found[pair].probability,
            said_before=before.found[pair].strict,
            said=after.found[pair].strict,
        )
        for record, said_before, said_after in zip(before.records, before.answers, after.answers, strict=True)
        for pair in [(record.request.rendered, record.request.target)]
    )
