"""Bootstrap intervals of means over facts (Efron 1979), seeded and paired.  Torch-free.

Whole facts are drawn with replacement, with all their questions, since the questions about one fact are not
independent.  The interval holds the middle 95 % of the draws.  Two models that were asked about the same facts are
compared on the same draws, so that a fact which is hard for both does not widen the interval of their difference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DRAWS = 2_000
LOW, HIGH = 0.025, 0.975
Interval = tuple[float, float]
Table = NDArray[np.float64]
"""[facts, measures]; nan where a fact has no such questions."""


def table_of(rows: Sequence[Sequence[float | None]], measures: int) -> Table:
    """The rows of facts as a table with so many measures; None becomes nan."""
    found = [[np.nan if value is None else value for value in row] for row in rows]
    return np.array(found, dtype=np.float64).reshape(len(rows), measures)


def weights(count: int, seed: int) -> NDArray[np.float64]:
    """[1 + draws, facts]: how often each draw holds each fact; the first holds every fact once."""
    drawn = np.random.default_rng(seed).integers(0, max(count, 1), size=(DRAWS if count else 0, count))
    flat = (drawn + count * np.arange(len(drawn))[:, None]).ravel()
    counts = np.bincount(flat, minlength=count * len(drawn)).reshape(len(drawn), count)
    return np.vstack([np.ones((1, count)), counts]).astype(np.float64)


def means(table: Table, drawn: NDArray[np.float64]) -> Table:
    """[draws, measures]: the mean of each measure over the facts of each draw that have it; nan if none has."""
    known = ~np.isnan(table)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Table = (drawn @ np.where(known, table, 0.0)) / (drawn @ known.astype(np.float64))
    return found


def harmonic(parts: Table) -> NDArray[np.float64]:
    """[draws]: the harmonic mean over the last axis; 0 if a part is 0, nan if one is nan."""
    with np.errstate(divide="ignore"):
        found: NDArray[np.float64] = parts.shape[-1] / (1 / parts).sum(axis=-1)
    return found


def middle(values: NDArray[np.float64]) -> Interval | None:
    """The middle 95 % of the draws; it always contains the value itself, which is the first; None if that is nan."""
    value, drawn = values[0], values[1:][~np.isnan(values[1:])]
    if np.isnan(value):
        return None
    low, high = np.quantile(drawn, [LOW, HIGH])
    return float(min(low, value)), float(max(high, value))
