"""How sure a score is: bootstrap intervals over facts, seeded.  Torch-free.

A score that every fact reaches has an interval without width: a few facts do not prove more than they show, and the
intervals of the shares (`kbsync/gates/bounds.py`) say how little that is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from editing.calibration.judgement import Judgement, Scored
from editing.evaluation.bootstrap import Interval, harmonic, means, middle, table_of, weights


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
