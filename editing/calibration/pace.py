"""How long a trial will take, from those that were made.  Torch-free.

Trials differ by what they can reuse: the statistics of their layers, and the δs of their edits, which do not depend on
λ, ridge and kept relations.  What was never measured is expected to take as long as what reuses less.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from editing.calibration.counterfactuals import Counterfactual
from editing.calibration.judgement import SearchPoint

Kind = Literal["layers", "residuals", "reused", "rest"]
"""What has to be computed: statistics and δs, δs, or neither; `rest`: what other trials took for all but those."""
FALL_BACK: dict[Kind, tuple[Kind, ...]] = {
    "layers": ("layers", "residuals", "reused"),
    "residuals": ("residuals", "layers", "reused"),
    "reused": ("reused", "rest", "residuals", "layers"),
    "rest": (),
}
RECENT = 3
"""The slowest of so many recent trials of a kind and size is what counts."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Work that was not begun, since it would not have ended within the budget."""

    stage: str
    what: str
    seconds: float
    """The time that it was expected to take."""


@dataclass(frozen=True, slots=True)
class _Timed:
    seconds: float
    wordings: int


class TrialPace:
    """The seconds of the trials so far."""

    def __init__(self) -> None:
        self._timed: dict[Kind, dict[int, list[_Timed]]] = defaultdict(lambda: defaultdict(list))
        self._layers: set[int] = set()
        self._residuals: set[Hashable] = set()
        self._noted: set[Hashable] = set()

    def add(
        self,
        candidate: SearchPoint,
        edits: Sequence[Counterfactual],
        seconds: float,
        reusable: float = 0.0,
    ) -> None:
        """Note a trial of `candidate` with these edits, once.

        `reusable`: the share of its time that was spent on statistics and δs.
        """
        same = (repr(candidate), *(edit.id for edit in edits))
        if same in self._noted:
            return
        self._noted.add(same)
        kind, wordings = self.kind(candidate, edits), _wordings(candidate)
        self._timed[kind][len(edits)].append(_Timed(seconds, wordings))
        if kind != "reused" and reusable:
            self._timed["rest"][len(edits)].append(_Timed(seconds * (1 - reusable), wordings))
        self._layers |= set(candidate.settings.layers)
        self._residuals.add(residuals_of(candidate, edits))

    def kind(self, candidate: SearchPoint, edits: Sequence[Counterfactual]) -> Kind:
        """What a trial has to compute, given those before."""
        if not self._layers.issuperset(candidate.settings.layers):
            return "layers"
        return "reused" if residuals_of(candidate, edits) in self._residuals else "residuals"

    def expected(self, candidate: SearchPoint, edits: Sequence[Counterfactual]) -> float:
        """Seconds that a trial will take; 0 if none was made yet.

        More edits cost at most as much more, and fewer at most as much, since every trial has costs that do not depend
        on their number; so trials of each size give a bound, and the lowest holds.
        """
        for kind in FALL_BACK[self.kind(candidate, edits)]:
            if sizes := self._timed[kind]:
                return min(_bound(size, sizes[size], candidate, len(edits)) for size in sizes)
        return 0.0


def _bound(size: int, timed: Sequence[_Timed], candidate: SearchPoint, edits: int) -> float:
    """The seconds of `edits` edits at most, from trials of `size` edits."""
    wordings = _wordings(candidate)
    slowest = max(one.seconds * max(1.0, wordings / one.wordings) for one in timed[-RECENT:])
    return slowest * max(1.0, edits / max(size, 1))


def _wordings(candidate: SearchPoint) -> int:
    """The texts that a fact is edited with."""
    return 1 + candidate.variants + candidate.settings.chat


def residuals_of(candidate: SearchPoint, edits: Sequence[Counterfactual]) -> Hashable:
    """What δs depend on: they enter at the last layer, and are found before λ, ridge or kept relations matter."""
    settings = candidate.settings
    same = replace(settings, layers=settings.layers[-1:], lam=1.0, ridge=0.0, keep=0.0)
    return repr(same), candidate.variants, *(edit.id for edit in edits)
