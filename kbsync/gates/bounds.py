"""Confidence bounds of sampled measures, where several answers may be about one fact.

Answers about one fact are not independent.  How much they agree is measured by their intraclass correlation (the
analysis-of-variance estimate: Ridout, Demétrio and Firth, Biometrics 55, 1999), and a sample counts as the number of
independent answers that would tell as much: n / (1 + (m - 1) · ICC), with m = Σ nᵢ² / n answers a fact.
`benchmarks/gates_coverage.py` measures how often the bounds hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from editing.evaluation.measures.gate import Direction


def sample_bound(
    k: int, n: int, by_fact: Sequence[tuple[int, int]], confidence: float, direction: Direction
) -> float:
    """One-sided bound of the proportion k / n: lower for `at_least`, upper for `at_most`.

    `by_fact` has (answered as expected, asked) of each fact in the sample.  If a fact was asked several
    questions, the bound is `clustered_bound`; else it is `wilson_bound`.
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
    return _wilson(k / n, n, NormalDist().inv_cdf(confidence), direction)


def clustered_bound(by_fact: Sequence[tuple[int, int]], confidence: float, direction: Direction) -> float:
    """One-sided bound of a proportion whose cases come in clusters: (answered as expected, asked) of each fact.

    Wilson's score bound at the effective number of answers, with Student's t of one degree of freedom less than there
    are facts in place of the normal quantile.  If all answers agree, their correlation cannot be estimated, and a fact
    counts as one case.  Raises ValueError where there is no case.
    """
    asked = [one for one in by_fact if one[1]]
    if not asked:
        raise ValueError("a bound needs at least one case")
    share = sum(k for k, _ in asked) / sum(n for _, n in asked)
    return _wilson(share, effective_size(asked), _quantile(len(asked), confidence), direction)


def paired_bound(pairs: Sequence[tuple[int, int, int]], confidence: float, direction: Direction) -> float:
    """One-sided bound of the difference of two shares, candidate − live, of the same questions by fact.

    `pairs` has, of each fact, the number of questions, of those that only the candidate and of those that only live
    answered as expected.  The bounds of these two shares, each with its own correlation, are combined by squares
    around the difference: MOVER, Zou and Donner, Statistics in Medicine 27 (2008).  The bound does not vanish where no
    answer differs.  Raises ValueError where there is no question.
    """
    asked = [one for one in pairs if one[0]]
    if not asked:
        raise ValueError("a bound needs at least one case")
    gained = [(up, n) for n, up, _ in asked]
    lost = [(down, n) for n, _, down in asked]
    if direction == "at_most":
        return -_difference(lost, gained, confidence)
    return _difference(gained, lost, confidence)


def _difference(
    gained: Sequence[tuple[int, int]], lost: Sequence[tuple[int, int]], confidence: float
) -> float:
    """The lower bound of the share of `gained` less that of `lost`."""
    n = sum(asked for _, asked in gained)
    up, down = (sum(k for k, _ in some) for some in (gained, lost))
    low = sample_bound(up, n, gained, confidence, "at_least")
    high = sample_bound(down, n, lost, confidence, "at_most")
    return max(-1.0, (up - down) / n - math.hypot(up / n - low, high - down / n))


def effective_size(by_fact: Sequence[tuple[int, int]]) -> float:
    """The number of independent cases with the same information; the number of facts if all answers agree.

    `by_fact` has (answered as expected, asked ≥ 1) of each fact.
    """
    facts, n, k = len(by_fact), sum(asked for _, asked in by_fact), sum(hits for hits, _ in by_fact)
    if facts < 2 or k in (0, n) or n == facts:
        return float(facts)
    by_squares = sum(hits * hits / asked for hits, asked in by_fact)
    between = (by_squares - k * k / n) / (facts - 1)
    within = (k - by_squares) / (n - facts)
    together = sum(asked * asked for _, asked in by_fact) / n
    usual = (n - together) / (facts - 1)
    correlation = (between - within) / (between + (usual - 1) * within)
    return n / (1 + (together - 1) * min(max(correlation, 0.0), 1.0))


def _quantile(facts: int, confidence: float) -> float:
    """Student's t; of a single fact, which says nothing of how facts differ, the normal quantile."""
    from scipy import special

    return float(special.stdtrit(facts - 1, confidence)) if facts > 1 else NormalDist().inv_cdf(confidence)


def _wilson(share: float, size: float, z: float, direction: Direction) -> float:
    """Wilson's bound at `size` independent cases, a real number."""
    centre = (share + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * math.sqrt(share * (1 - share) / size + z * z / (4 * size * size))
    return max(0.0, centre - half) if direction == "at_least" else min(1.0, centre + half)
