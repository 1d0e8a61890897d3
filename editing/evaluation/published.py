"""The published scores, computed from scored answers: CounterFact's ES, PS, NS and S, and zsRE's accuracy.

Means are taken over a case's prompts first, then over the cases, as in the paper (Meng et al. 2023, 5.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import harmonic_mean

from editing.evaluation.figures import mean
from editing.evaluation.scoring import Score

PromptAnswer = tuple[str, str]
"""A rendered prompt and an answer whose probability is needed."""


@dataclass(frozen=True, slots=True)
class CounterFactCase:
    """One rewritten fact, and the rendered prompts that judge it."""

    prompt: str
    new: str
    old: str
    paraphrases: tuple[str, ...] = ()
    neighbours: tuple[PromptAnswer, ...] = ()
    """Prompts about other subjects, each with its true answer (CounterFact's own have `old`)."""

    def asked(self) -> Iterable[PromptAnswer]:
        """Every pair that has to be scored."""
        for prompt in (self.prompt, *self.paraphrases):
            yield from ((prompt, self.new), (prompt, self.old))
        for prompt, answer in self.neighbours:
            yield from ((prompt, answer), (prompt, self.new))


@dataclass(frozen=True, slots=True)
class CounterFactScores:
    """Means over cases, in [0, 1]; None if no case has such prompts."""

    efficacy: float | None
    """ES: P[new] > P[old] on the edited prompt."""
    paraphrase: float | None
    """PS: the same for paraphrases."""
    neighbourhood: float | None
    """NS: P[true answer] > P[new] on neighbours' prompts."""

    @property
    def score(self) -> float | None:
        """S: the harmonic mean of ES, PS and NS."""
        parts = [p for p in (self.efficacy, self.paraphrase, self.neighbourhood) if p is not None]
        return float(harmonic_mean(parts)) if len(parts) == 3 else None


def counterfact(cases: Sequence[CounterFactCase], scores: Mapping[PromptAnswer, Score]) -> CounterFactScores:
    """ES, PS, NS and S; `scores` must contain every pair of the cases."""

    def ahead(prompt: str, first: str, second: str) -> float:
        return float(scores[prompt, first].logprob > scores[prompt, second].logprob)

    efficacy = [ahead(case.prompt, case.new, case.old) for case in cases]
    paraphrase = [mean([ahead(p, case.new, case.old) for p in case.paraphrases]) for case in cases]
    neighbourhood = [mean([ahead(p, answer, case.new) for p, answer in case.neighbours]) for case in cases]
    return CounterFactScores(mean(efficacy), _mean_of_some(paraphrase), _mean_of_some(neighbourhood))


def zsre_accuracy(
    cases: Iterable[Sequence[PromptAnswer]], scores: Mapping[PromptAnswer, Score]
) -> float | None:
    """The share of an answer's tokens that are top-1 given those before: over a case's pairs, then over the cases."""
    return _mean_of_some([mean([scores[pair].accuracy for pair in pairs]) for pairs in cases])


def _mean_of_some(values: Sequence[float | None]) -> float | None:
    """The mean over the cases that have such prompts; None if there are none."""
    return mean([value for value in values if value is not None])
