"""How sure a score is: bootstrap intervals over facts, seeded.  Torch-free.

The facts of a split are drawn again, with replacement, `DRAWS` times; the interval holds the middle 95 % of the scores
of the draws (Efron 1979).  Whole facts are drawn, with all their questions, since the questions about one fact are not
independent.  A score that every fact reaches has an interval without width: a few facts do not prove more than they
show, and the intervals of the shares (`kbsync/gates/bounds.py`) say how little that is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from editing.calibration.judgement import Judgement, Scored

DRAWS = 2_000
LOW, HIGH = 0.025, 0.975
Interval = tuple[float, float]


def score_interval(judged: Judgement, *, seed: int = 0) -> Interval | None:
    """The 95 % interval of S; None if S does not apply."""
    return _middle(_scores(_table(judged.scored), _draws(len(judged.scored), seed)))


def score_change(before: Judgement, after: Judgement, *, seed: int = 0) -> Interval | None:
    """The 95 % interval of S after less S before, for the same facts in the same order; None if S does not apply.

    Both are drawn together, so that a fact which is hard under both settings does not widen the interval.
    """
    draws = _draws(len(after.scored), seed)
    return _middle(_scores(_table(after.scored), draws) - _scores(_table(before.scored), draws))


def _table(scored: Sequence[Scored]) -> NDArray[np.float64]:
    """[facts, 3]: ES, PS and NS of each fact; nan where it has no such prompts."""
    rows = [[np.nan if value is None else value for value in row] for row in scored]
    return np.array(rows, dtype=np.float64).reshape(len(rows), 3)


def _draws(count: int, seed: int) -> NDArray[np.int64]:
    """[1 + draws, facts]: the rows of each draw; the first holds every fact once, which gives the score itself."""
    drawn = np.random.default_rng(seed).integers(0, max(count, 1), size=(DRAWS if count else 0, count))
    return np.vstack([np.arange(count)[None], drawn])


def _scores(table: NDArray[np.float64], draws: NDArray[np.int64]) -> NDArray[np.float64]:
    """[draws]: S of each draw, the harmonic mean of its mean ES, PS and NS; nan where one of them has no facts."""
    drawn = table[draws]  # [draws, facts, 3]
    known = ~np.isnan(drawn)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.where(known, drawn, 0.0).sum(axis=1) / known.sum(axis=1)  # [draws, 3]
        score: NDArray[np.float64] = 3 / (1 / means).sum(axis=1)
    return score


def _middle(values: NDArray[np.float64]) -> Interval | None:
    """The middle of the draws; it always contains the score itself (the first value)."""
    score, drawn = values[0], values[1:][~np.isnan(values[1:])]
    if np.isnan(score):
        return None
    low, high = np.quantile(drawn, [LOW, HIGH])
    return float(min(low, score)), float(max(high, score))
