"""The settings that a search found against those in force, on facts that neither was chosen on.

Settings that are worse there are not recommended, whatever they were on the facts of the search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from editing.calibration.counterfactuals import Split
from editing.calibration.intervals import score_change
from editing.calibration.judgement import Judgement, SearchPoint, rank
from editing.calibration.laboratory import Laboratory
from editing.calibration.search import SettingsTrial, with_lambda


@dataclass(frozen=True)
class Proof:
    """The outcome on the test split."""

    chosen: SearchPoint
    before: Judgement
    """The settings in force."""
    after: Judgement
    """The chosen ones."""
    refused: SearchPoint | None
    """What the search found, if it was worse; the settings in force are chosen then."""


def prove(
    laboratory: Laboratory,
    start: SearchPoint,
    found: SettingsTrial,
    split: Split,
    floors: Mapping[str, float],
) -> Proof:
    """Judge the settings in force and those that were found; the latter are chosen if they are not worse."""
    before = laboratory.judged(start, split.edits, split.untouched)
    laboratory.progress("test", 1, 2)
    in_force = with_lambda(start, before)
    if found.candidate == start:
        laboratory.progress("test", 2, 2)
        return Proof(in_force, before, before, None)
    after = laboratory.judged(found.fixed, split.edits, split.untouched)
    laboratory.progress("test", 2, 2)
    if is_worse(before, after, floors):
        return Proof(in_force, before, before, found.fixed)
    return Proof(found.fixed, before, after, None)


def is_worse(before: Judgement, after: Judgement, floors: Mapping[str, float]) -> bool:
    """Whether settings rank lower than those in force on the same facts, or their S is lower beyond doubt (the 95 %
    interval of the change lies below 0)."""
    change = score_change(before, after)
    return rank(after, floors) < rank(before, floors) or (change is not None and change[1] < 0)
