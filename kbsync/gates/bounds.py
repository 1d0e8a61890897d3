"""Confidence bounds of sampled measures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from kbsync.gates.declaration import Direction


def sample_bound(
    k: int, n: int, by_fact: Sequence[tuple[int, int]], confidence: float, direction: Direction
) -> float:
    """One-sided bound of the proportion k / n: lower for `at_least`, upper for `at_most`.

    `by_fact` has (answered as expected, asked) of each fact in the sample.  If a fact was asked several
    questions, the answers are not independent, and the bound is `clustered_bound`; else it is `wilson_bound`.
    """
    if any(asked > 1 for _, asked in by_fact):
        return clustered_bound(by_fact, confidence, direction)
    return wilson_bound(k, n, confidence, direction)


def wilson_bound(k: int, n: int, confidence: float, direction: Direction) -> float:
    """One-sided Wilson score bound of a proportion of independent cases.

    Wilson, JASA 22 (1927); unlike the normal approximation it stays in [0, 1] and behaves at k = 0 and k = n.
    Raises ValueError where there is no case.
    """
    if n <= 0:
        raise ValueError("a bound needs at least one case")
    z = NormalDist().inv_cdf(confidence)
    p = k / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half) if direction == "at_least" else min(1.0, centre + half)


def clustered_bound(by_fact: Sequence[tuple[int, int]], confidence: float, direction: Direction) -> float:
    """One-sided bound of a proportion whose cases come in clusters: (answered as expected, asked) of each fact.

    Clopper and Pearson's exact bound at the effective sample size n* = n / D · (z / t)², where D ≥ 1 is the design
    effect (the variance between facts over that of independent cases), and t has one degree of freedom less than there
    are facts: Korn and Graubard, Survey Methodology 24 (1998).  If all answers agree, D cannot be estimated, and a
    fact counts as one case.  Raises ValueError where there is no case.
    """
    from scipy import special

    asked = [(k, n) for k, n in by_fact if n]
    if not asked:
        raise ValueError("a bound needs at least one case")
    total = sum(n for _, n in asked)
    p = sum(k for k, _ in asked) / total
    size = _effective_size(asked, p, total)
    if len(asked) > 1:
        z, t = NormalDist().inv_cdf(confidence), special.stdtrit(len(asked) - 1, confidence)
        size *= (z / t) ** 2
    hits = p * size
    if direction == "at_least":
        return float(special.betaincinv(hits, size - hits + 1, 1 - confidence)) if hits > 0 else 0.0
    return float(special.betaincinv(hits + 1, size - hits, confidence)) if hits < size else 1.0


def _effective_size(asked: Sequence[tuple[int, int]], p: float, total: int) -> float:
    """The number of independent cases with the same information: at most `total`; the number of facts if all agree."""
    facts = len(asked)
    if p in (0.0, 1.0) or facts < 2:
        return float(facts)
    between = facts / (facts - 1) * sum((k - p * n) ** 2 for k, n in asked) / total**2
    return total / max(1.0, between / (p * (1 - p) / total))
