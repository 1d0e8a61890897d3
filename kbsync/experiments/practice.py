"""The facts that MEND's networks are trained on: what the model knows, edited counterfactually, or a data set's."""

from __future__ import annotations

from collections.abc import Sequence

from editing.baselines.mend import HALVES, half_of
from editing.calibration.statements import WordedTriple
from editing.datasets import Record
from editing.errors import DataError
from kbsync.experiments.cases import EditCase, counterfactual_cases

MEND = "mend"
SEEDS = (-2, -3, -4, -5)
"""Seeds of the practice: each gives every fact another object; experiments use 0 and up."""


def practice(known: Sequence[WordedTriple], given: Sequence[EditCase]) -> list[Record]:
    """Facts to train on, each half of the subjects with neighbours of its own.  Raises DataError if there are none."""
    if given:
        return [case.record for case in given]
    found: list[Record] = []
    for half in range(HALVES):
        own = [one for one in known if half_of(one.subject) == half]
        if not own:
            raise DataError(
                f"all {len(known)} known facts are about subjects of one half: give more with --facts"
            )
        found += [case.record for seed in SEEDS for case in counterfactual_cases(own, seed=seed)]
    return found
