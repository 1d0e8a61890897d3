"""How many cases a gate needs to tell a good candidate from one at its threshold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

from editing.evaluation.measures.gate import Gate

CORRELATION = 0.3
"""Correlation of the answers about one fact, if it was not measured."""


@dataclass(frozen=True, slots=True)
class SampleSize:
    """The sample by which a gate recognises a candidate that is better than its threshold by a margin."""

    gate: str
    threshold: float
    share: float
    """The candidate's true share: `margin` better than the threshold."""
    cases: int
    """Independent cases that it takes."""
    facts: int
    """Facts that it takes if each is asked `questions` questions, whose answers are correlated."""
    questions: int


def sample_sizes(
    gates: Iterable[Gate],
    questions: Mapping[str, int],
    *,
    margin: float,
    power: float = 0.9,
    correlation: float = CORRELATION,
) -> tuple[SampleSize, ...]:
    """The sample sizes of the gates in `questions` (gate → questions a fact) that a share can exceed by `margin`."""
    found = []
    for gate in gates:
        asked = questions.get(gate.name, 0)
        share = gate.threshold + margin if gate.direction == "at_least" else gate.threshold - margin
        if asked and 0 < gate.threshold < 1 and 0 < share <= 1:
            cases = independent_cases(gate.threshold, share, gate.confidence, power)
            effect = 1 + (asked - 1) * correlation
            facts = math.ceil(cases * effect / asked)
            found.append(SampleSize(gate.name, gate.threshold, round(share, 9), cases, facts, asked))
    return tuple(found)


def independent_cases(threshold: float, share: float, confidence: float, power: float) -> int:
    """Cases by which a candidate of true `share` is distinguished from `threshold` with probability `power`.

    The size of the one-sided score test of a proportion, whose inversion is Wilson's bound: Fleiss, Levin and Paik,
    Statistical Methods for Rates and Proportions (2003), equation 2.19, without the continuity correction.
    Raises ValueError for a share that equals the threshold.
    """
    if share == threshold:
        raise ValueError("no sample tells a share from itself")
    normal = NormalDist()
    alpha = normal.inv_cdf(confidence) * math.sqrt(threshold * (1 - threshold))
    beta = normal.inv_cdf(power) * math.sqrt(share * (1 - share))
    return math.ceil(((alpha + beta) / (share - threshold)) ** 2)
