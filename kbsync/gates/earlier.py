"""The rule by which samples were judged before rule 2, for verdicts of that time that are made again."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

from editing.evaluation.measures.gate import Direction
from kbsync.gates.bounds import wilson_bound


def sample_bound_1(
    k: int, n: int, by_fact: Sequence[tuple[int, int]], confidence: float, direction: Direction
) -> float:
    """As `bounds.sample_bound`, with Clopper and Pearson's bound by fact (Korn and Graubard 1998)."""
    from scipy import special

    asked = [(hits, questions) for hits, questions in by_fact if questions]
    if all(questions == 1 for _, questions in asked):
        return wilson_bound(k, n, confidence, direction)
    total = sum(questions for _, questions in asked)
    p = sum(hits for hits, _ in asked) / total
    size = _effective_size(asked, p, total)
    if len(asked) > 1:
        z, t = NormalDist().inv_cdf(confidence), special.stdtrit(len(asked) - 1, confidence)
        size *= (z / t) ** 2
    hits = p * size
    if direction == "at_least":
        return float(special.betaincinv(hits, size - hits + 1, 1 - confidence)) if hits > 0 else 0.0
    return float(special.betaincinv(hits + 1, size - hits, confidence)) if hits < size else 1.0


def _effective_size(asked: Sequence[tuple[int, int]], p: float, total: int) -> float:
    facts = len(asked)
    if p in (0.0, 1.0) or facts < 2:
        return float(facts)
    between = facts / (facts - 1) * sum((k - p * n) ** 2 for k, n in asked) / total**2
    return total / max(1.0, between / (p * (1 - p) / total))
