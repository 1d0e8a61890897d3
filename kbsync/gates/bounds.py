"""Confidence bounds of what was only sampled."""

from __future__ import annotations

import math
from statistics import NormalDist

from kbsync.gates.declaration import Direction


def wilson_bound(k: int, n: int, confidence: float, direction: Direction) -> float:
    """One-sided Wilson score bound of a proportion: lower for `at_least`, upper for `at_most`.

    Wilson, JASA 22 (1927); unlike the normal approximation it stays in [0, 1] and behaves at k = 0 and k = n.
    """
    if n <= 0:
        raise ValueError("a bound needs at least one case")
    z = NormalDist().inv_cdf(confidence)
    p = k / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return centre - half if direction == "at_least" else centre + half
