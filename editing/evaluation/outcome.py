"""What became of each fact of a one-shot edit, and the published scores where the data set allows them.

One sheet of questions is answered by the model before and after: each fact's own prompt, its
paraphrases and its neighbours, with the new answer and the old one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import harmonic_mean
from typing import Any

from editing.datasets import Record
from editing.evaluation.generation import mean
from editing.evaluation.metrics import answers
from editing.evaluation.scoring import Score, encode_targets, score
from editing.progress import Tick, uncounted

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class FactOutcome:
    """One fact, before and after."""

    id: str
    prompt: str
    target: str
    previous: str | None
    before: str
    """What the model answered, greedily."""
    after: str
    p_before: float
    """Length-normalised probability of the target on the prompt."""
    p_after: float
    said_before: bool
    """All target tokens are the strict argmax."""
    said: bool


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over facts, in [0, 1]; None where no fact has such prompts or no previous object."""

    strict: float
    """Facts whose target is the strict argmax on their own prompt."""
    efficacy: float | None
    """ES: P[new] > P[old] on the edited prompt."""
    paraphrase: float | None
    """PS: the same on paraphrases."""
    neighbourhood: float | None
    """NS: P[answer] > P[new] on neighbours' prompts."""
    score: float | None
    """S: the harmonic mean of ES, PS and NS."""
    accuracy: float
    """zsRE's efficacy: the share of target tokens that are top-1, teacher-forced."""
    paraphrase_accuracy: float | None
    """The same on paraphrases."""
    specificity: float | None
    """The same for the answers of neighbours."""


@dataclass(frozen=True)
class Sheet:
    """The questions, and how one model answered them."""

    records: Sequence[Record]
    answers: Sequence[str]
    """Greedy answers to the facts' own prompts."""
    found: dict[Pair, Score]

    def scores(self) -> Scores:
        own = [self.found[record.request.rendered, record.request.target] for record in self.records]
        compared = [record for record in self.records if record.previous is not None]
        efficacy = mean([float(self._prefers_new(r, r.request.rendered)) for r in compared])
        paraphrase = mean([share for r in compared if (share := self._paraphrased(r)) is not None])
        neighbourhood = mean([share for r in compared if (share := self._left_alone(r)) is not None])
        three = [part for part in (efficacy, paraphrase, neighbourhood) if part is not None]
        return Scores(
            strict=sum(item.strict for item in own) / len(own),
            efficacy=efficacy,
            paraphrase=paraphrase,
            neighbourhood=neighbourhood,
            score=float(harmonic_mean(three)) if len(three) == 3 else None,
            accuracy=sum(map(_right, own)) / len(own),
            paraphrase_accuracy=self._accuracy(lambda r: [(p, r.request.target) for p in r.paraphrases]),
            specificity=self._accuracy(lambda r: list(r.neighbours)),
        )

    def _prefers_new(self, record: Record, prompt: str) -> bool:
        assert record.previous is not None
        new, old = self.found[prompt, record.request.target], self.found[prompt, record.previous]
        return new.logprob > old.logprob

    def _paraphrased(self, record: Record) -> float | None:
        asked = [prompt for prompt in record.paraphrases if (prompt, record.request.target) in self.found]
        return mean([float(self._prefers_new(record, prompt)) for prompt in asked])

    def _left_alone(self, record: Record) -> float | None:
        target = record.request.target
        kept = [
            float(self.found[prompt, answer].logprob > self.found[prompt, target].logprob)
            for prompt, answer in record.neighbours
            if (prompt, answer) in self.found
        ]
        return mean(kept)

    def _accuracy(self, pairs: Callable[[Record], list[Pair]]) -> float | None:
        shares = []
        for record in self.records:
            asked = [_right(self.found[pair]) for pair in pairs(record) if pair in self.found]
            shares += [sum(asked) / len(asked)] if asked else []
        return mean(shares)


def questions(records: Sequence[Record], *, probes: bool) -> list[Pair]:
    """All (prompt, answer) pairs to score, once each; without `probes` only the facts' own prompts."""
    pairs: dict[Pair, None] = {}
    for record in records:
        target, previous = record.request.target, record.previous
        objects = [target, *([previous] if previous is not None else [])]
        for prompt in (record.request.rendered, *(record.paraphrases if probes else ())):
            pairs |= dict.fromkeys((prompt, said) for said in objects)
        for prompt, answer in record.neighbours if probes else ():
            pairs |= dict.fromkeys([(prompt, answer), (prompt, target)])
    return list(pairs)


def answered(
    model: Any, tokenizer: Any, records: Sequence[Record], pairs: Sequence[Pair], *, tick: Tick = uncounted
) -> Sheet:
    """The sheet as `model` fills it in; `tick` counts `len(records) + len(pairs)` answers at most."""
    scores = score(model, encode_targets(tokenizer, pairs), tick=tick)
    said = answers(model, tokenizer, [record.request.rendered for record in records], tick=tick)
    return Sheet(records, said, dict(zip(pairs, scores, strict=True)))


def outcomes(before: Sheet, after: Sheet) -> tuple[FactOutcome, ...]:
    """Fact by fact, in the file's order."""
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


def _right(item: Score) -> float:
    return sum(item.right) / len(item.right)
