"""Judgements of imaginary edits, for tests of what follows from them."""

from __future__ import annotations

from dataclasses import replace

from editing.calibration.judgement import Judgement

GOOD = Judgement(
    facts=2,
    efficacy=((1, 1), (1, 1)),
    probability=(0.9, 0.8),
    paraphrase=((2, 2), (1, 2)),
    neighbourhood=((5, 5), (5, 5)),
    same_subject=((2, 2), (2, 2)),
    known_retention=((1, 1),),
    said=(),
    alone=((1, 1), (1, 1)),
    es=1.0,
    ps=1.0,
    ns=0.9,
    s=0.96,
    perplexity_ratio=1.0,
    weight_growth=1.1,
    lam=10.0,
    leverage={"3": 20.0},
    scored=((1.0, 1.0, 1.0), (1.0, 1.0, 0.8)),
)
NOTHING = replace(
    GOOD,
    efficacy=((0, 1), (0, 1)),
    probability=(0.0, 0.0),
    es=0.0,
    ps=0.0,
    s=0.0,
    paraphrase=((0, 2), (0, 2)),
    scored=((0.0, 0.0, 1.0), (0.0, 0.0, 0.8)),
)
"""Nothing took, and nothing was harmed."""
