"""How sure a score is: bootstrap intervals over facts, seeded.  Torch-free.

A score that every fact reaches has an interval without width: a few facts do not prove more than they show, and the
intervals of the shares (`kbsync/gates/bounds.py`) say how little that is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from editing.calibration.judgement import Judgement, Scored, rank
from editing.evaluation.bootstrap import Interval, harmonic, means, middle, table_of, weights

T = TypeVar("T")
GROUPS = 20
"""Groups of facts that the jackknife leaves out in turn."""


def score_interval(judged: Judgement, *, seed: int = 0) -> Interval | None:
    """The 95 % interval of S; None if S does not apply."""
    return middle(_scores(judged.scored, weights(len(judged.scored), seed)))


def score_change(before: Judgement, after: Judgement, *, seed: int = 0) -> Interval | None:
    """The 95 % interval of S after less S before, for the same facts in the same order; None if S does not apply.

    Both are drawn together, so that a fact which is hard under both settings does not widen the interval.
    """
    drawn = weights(len(after.scored), seed)
    return middle(_scores(after.scored, drawn) - _scores(before.scored, drawn))


def _scores(scored: Sequence[Scored], drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """[draws]: S of each draw, the harmonic mean of its mean ES, PS and NS; nan where one of them has no facts."""
    return harmonic(means(table_of(scored, 3), drawn))


def rank_error(before: Judgement, after: Judgement, floors: Mapping[str, float]) -> float:
    """The standard error of the change of `rank`, for the same facts in the same order: that of the jackknife which
    leaves out one group of facts, and of statements about other subjects, at a time (Quenouille 1956, Tukey 1958).

    Perplexity and the growth of the weights are taken as they are.
    """
    pairs = zip(_jackknife(before), _jackknife(after), strict=True)
    changes = np.array([rank(new, floors) - rank(old, floors) for old, new in pairs])
    return float(np.sqrt(max(len(changes) - 1, 0) * changes.var())) if len(changes) else 0.0


def _jackknife(judged: Judgement) -> Iterator[Judgement]:
    """The judgement without the facts of one group, for each group."""
    count = len(judged.efficacy)
    groups = min(GROUPS, count)
    kept = np.arange(count) % max(groups, 1) != np.arange(groups)[:, None]
    scores = _scores(judged.scored, kept.astype(np.float64)) if judged.scored else np.full(groups, np.nan)
    for group in range(groups):

        def rest(values: Sequence[T], group: int = group) -> tuple[T, ...]:
            return tuple(value for index, value in enumerate(values) if index % groups != group)

        yield replace(
            judged,
            efficacy=rest(judged.efficacy),
            probability=rest(judged.probability),
            paraphrase=rest(judged.paraphrase),
            neighbourhood=rest(judged.neighbourhood),
            same_subject=rest(judged.same_subject),
            known_retention=rest(judged.known_retention),
            said=rest(judged.said),
            s=None if np.isnan(scores[group]) else float(scores[group]),
            paraphrase_probability=tuple(value for one in rest(_by_fact(judged)) for value in one),
        )


def _by_fact(judged: Judgement) -> list[tuple[float, ...]]:
    """P[new object] on the paraphrases of each fact."""
    ends = np.cumsum([0, *(asked for _, asked in judged.paraphrase)])
    return [judged.paraphrase_probability[low:high] for low, high in pairwise(ends)]
