"""How good one trial of settings is: what the gates measure, and one number to search by.  Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from editing.cost import growth_of_one
from editing.settings import EditSettings

GOAL = 10.0
"""Weight of what edits are for, over what a gate misses."""
WEIGHTS = {"perplexity_ratio": 5.0, "known_retention": 5.0}
"""Weights of gates that judge what nobody edited; the others, which judge the edits and what is near them, weigh 1."""
Counts = tuple[tuple[int, int], ...]
"""(answered as expected, asked) of each fact."""
Scored = tuple[float, float | None, float | None]
"""ES, PS and NS of one fact; None where it has no such prompts."""
AT_MOST = frozenset({"perplexity_ratio", "weight_growth"})
"""Gates that bound a ratio to the base from above."""
SHARES = ("efficacy", "paraphrase", "neighbourhood", "same_subject", "known_retention", "said")
"""Measures that are shares of questions, under the names of the gates that judge them."""


@dataclass(frozen=True, slots=True)
class SearchPoint:
    """One point of the search."""

    settings: EditSettings
    variants: int = 0
    """`[plan] variants`: further wordings that each fact is edited with."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One edited model, on one set of edits."""

    facts: int
    efficacy: Counts
    """Facts whose object is the strict argmax on their own prompt."""
    probability: tuple[float, ...]
    """P[new object] of each fact on its own prompt, length-normalised."""
    paraphrase: Counts
    """Paraphrases answered with the new object, strictly."""
    neighbourhood: Counts
    """Neighbours answered as the base does, strictly."""
    same_subject: Counts
    """The subjects' other relations, likewise."""
    known_retention: Counts
    """Statements about other subjects, likewise."""
    said: Counts
    """Questions asked through the chat template that are answered as the edit states; empty without a template."""
    alone: Counts
    """Facts that the unedited model states with their δ added: what the spread over the layers can reach at best."""
    es: float | None
    """P[new] > P[old] on the edited prompt, as published; `ps` and `ns` on paraphrases and neighbours."""
    ps: float | None
    ns: float | None
    s: float | None
    """The harmonic mean of ES, PS and NS."""
    perplexity_ratio: float
    weight_growth: float
    """‖W + Δ‖ / ‖W‖ of the edited matrix that grew most."""
    lam: float
    """λ that was used; 0 if nothing was edited."""
    leverage: dict[str, float]
    """Layer → median leverage of the edited keys."""
    together: int = 0
    """Facts that one model was edited with, where several sets are pooled; 0: all of them."""
    scored: tuple[Scored, ...] = ()
    """What S is the score of, by fact."""
    paraphrase_probability: tuple[float, ...] = ()
    """P[new object] on each paraphrase, length-normalised."""
    seconds: float = 0.0
    """Time that the trial took."""
    reusable: float = 0.0
    """The share of it that was spent on statistics and δs, which a trial with the same ones does not need."""

    def measures(self) -> dict[str, float]:
        """Every measure that applies, by name."""
        shares = {name: share(getattr(self, name)) for name in (*SHARES, "alone")}
        ratios = {"perplexity_ratio": self.perplexity_ratio, "weight_growth": self.weight_growth}
        scores = {"S": self.s, "ES": self.es, "PS": self.ps, "NS": self.ns}
        return {name: value for name, value in (scores | shares | ratios).items() if value is not None}


def share(counts: Counts) -> float | None:
    """The share of all questions; None if none was asked."""
    asked = sum(n for _, n in counts)
    return sum(k for k, _ in counts) / asked if asked else None


def margin(judged: Judgement, floors: Mapping[str, float]) -> dict[str, float]:
    """Gate → how far its measure is on the right side of its threshold (negative: it fails), for all that apply.

    The growth of the weights is compared as far as one edit accounts for it, as its gate does.
    """
    one_edit = growth_of_one(judged.weight_growth, judged.together or judged.facts)
    found = judged.measures() | {"weight_growth": one_edit}
    margins = {}
    for gate, threshold in floors.items():
        value = found.get(gate)
        if value is not None:
            margins[gate] = threshold - value if gate in AT_MOST else value - threshold
    return margins


def rank(judged: Judgement, floors: Mapping[str, float]) -> float:
    """What the search maximises: `GOAL` times the mean of what edits are for, less every gate's shortfall, each counted
    as 1 at most, times its weight.

    Edits are for S, the strict efficacy, paraphrases answered strictly and, where they were asked, questions of
    conversations; and for probable paraphrases: more facts at once cost probability, and only then answers, so that
    settings which are as good on a few facts are told apart.  This comes first: paraphrases are not given up to keep
    more of a subject's other relations, which decide between settings that differ little in the rest.  Editing
    nothing, which harms nothing, is never the best.

    A fact that is not stated yet counts with its probability, so that settings under which nothing takes can
    still be told apart.  A gate that cannot be reached still pulls, as far as it costs next to nothing of the rest.
    """
    measures = judged.measures()
    goals = [measures[name] for name in ("S", "paraphrase", "said") if name in measures] + [_stated(judged)]
    if judged.paraphrase_probability:
        goals.append(sum(judged.paraphrase_probability) / len(judged.paraphrase_probability))
    missed = {name: min(1.0, -value) for name, value in margin(judged, floors).items() if value < 0}
    shortfall = sum(WEIGHTS.get(name, 1.0) * value for name, value in missed.items())
    return GOAL * sum(goals) / len(goals) - shortfall


def _stated(judged: Judgement) -> float:
    pairs = zip(judged.efficacy, judged.probability, strict=True)
    return sum(max(float(k), probability) for (k, _), probability in pairs) / len(judged.efficacy)


def pooled(judgements: Sequence[Judgement]) -> Judgement:
    """Judgements of several disjoint sets of as many edits each as one: questions are pooled, scores averaged."""
    first, *others = judgements
    if not others:
        return first

    def counts(name: str) -> Counts:
        return tuple(pair for one in judgements for pair in getattr(one, name))

    def average(name: str) -> float | None:
        return _mean([getattr(one, name) for one in judgements])

    return replace(
        first,
        facts=sum(one.facts for one in judgements),
        together=first.facts,
        efficacy=counts("efficacy"),
        probability=tuple(value for one in judgements for value in one.probability),
        paraphrase=counts("paraphrase"),
        neighbourhood=counts("neighbourhood"),
        same_subject=counts("same_subject"),
        known_retention=counts("known_retention"),
        said=counts("said"),
        alone=counts("alone"),
        scored=tuple(row for one in judgements for row in one.scored),
        paraphrase_probability=tuple(value for one in judgements for value in one.paraphrase_probability),
        seconds=sum(one.seconds for one in judgements),
        es=average("es"),
        ps=average("ps"),
        ns=average("ns"),
        s=average("s"),
        perplexity_ratio=max(one.perplexity_ratio for one in judgements),
        weight_growth=max(one.weight_growth for one in judgements),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
