"""The best few of what a search has tried, compared on facts that it has not seen, where the base knows enough of them.

Settings that were chosen by gains on a few dozen facts are partly lucky, and several that differ much are alike within
what such facts can tell.  Candidates with the same δs differ little; so the best of each kind of δ is judged on further
facts, as successive halving does (Jamieson and Talwalkar 2016): many candidates on few facts, few on many.  Those whose
rank is within one standard error of the best one's are alike (the rule of Breiman et al. 1984), and of these the one
with the highest S is chosen, since S is what a calibration is for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from editing.calibration.counterfactuals import Split
from editing.calibration.intervals import rank_error
from editing.calibration.judgement import Judgement, rank
from editing.calibration.pace import LeftOut, residuals_of
from editing.calibration.search import SettingsSearch, SettingsTrial
from editing.errors import EditingError

FINALISTS = 4
DOUBT = 2.0
"""Standard errors below the best one, on the facts of the search, up to which a trial is compared on further facts."""


@dataclass(frozen=True, slots=True)
class Finalist:
    """A trial on all facts that it was judged on: those of the search and further ones."""

    trial: SettingsTrial
    judgements: tuple[Judgement, ...]
    """One of each set of facts."""
    behind: float = 0.0
    """How much lower its rank is than the best one's."""
    error: float = 0.0
    """The standard error of that."""

    @property
    def facts(self) -> int:
        return sum(one.facts for one in self.judgements)

    @property
    def s(self) -> float:
        """Mean S over the sets, in which each fact counts alike; 0 where S does not apply."""
        return self.mean(lambda one: one.s or 0.0)

    def mean(self, measure: Callable[[Judgement], float]) -> float:
        """The mean of a measure over the sets, in which each fact counts alike."""
        return sum(measure(one) * one.facts for one in self.judgements) / self.facts


def decided(
    search: SettingsSearch, best: SettingsTrial, further: Sequence[Split]
) -> tuple[SettingsTrial, list[Finalist]]:
    """(the trial to choose, all finalists by falling rank).

    It is `best`, without finalists, where no further facts, no other candidate, or no time is left; what there was no
    time for is added to what the search left out.
    """
    finalists = _entered(search, best) if further else []
    compared = False
    for split in further if len(finalists) > 1 else ():
        candidates = [one.trial.fixed for one in finalists]
        expected = sum(search.laboratory.expected(one, split.edits, split.untouched) for one in candidates)
        if search.clock() + expected > search.ends():
            what = f"the best {len(finalists)} candidates on {len(split.edits)} further facts"
            search.left_out.append(LeftOut("search", what, expected))
            break
        judged = [_judged(search, one, split) for one in finalists]
        finalists = [one for one in judged if one is not None]
        compared = True
    if not compared or not finalists:
        return best, []
    ordered = _against_best(finalists, search.floors)
    alike = [one for one in ordered if one.behind <= one.error]
    return max(alike, key=lambda one: one.s).trial, ordered


def _entered(search: SettingsSearch, best: SettingsTrial) -> list[Finalist]:
    """The best trial of each kind of δ that is not worse than `best` beyond doubt, as far as the search knows."""
    kinds: dict[object, SettingsTrial] = {}
    for trial in sorted(search.trials, key=lambda one: (one is not best, -one.value)):
        if trial.checked is not None:
            kinds.setdefault(residuals_of(trial.fixed, ()), trial)
    known = [_of_search(search, trial) for trial in kinds.values()]
    compared = _against_best([one for one in known if one is not None], search.floors)
    return [one for one in compared if one.behind <= DOUBT * one.error][:FINALISTS]


def _of_search(search: SettingsSearch, trial: SettingsTrial) -> Finalist | None:
    """The trial as it was judged on the facts of the search."""
    if trial.judgement is None:
        return None
    return _judged(search, Finalist(trial, (trial.judgement,)), search.check)


def _judged(search: SettingsSearch, one: Finalist, split: Split) -> Finalist | None:
    """The finalist, judged on one more set of facts; None if it could not be built."""
    try:
        found = search.laboratory.judged(one.trial.fixed, split.edits, split.untouched)
    except EditingError:
        return None
    search.laboratory.progress("finalists", len(one.judgements), len(one.judgements) + 1)
    return replace(one, judgements=(*one.judgements, found))


def _against_best(finalists: Sequence[Finalist], floors: Mapping[str, float]) -> list[Finalist]:
    """The finalists by falling rank, each compared with the first."""
    values = sorted(finalists, key=lambda one: one.mean(lambda judged: rank(judged, floors)), reverse=True)
    return [_compared(one, values[0], floors) for one in values]


def _compared(one: Finalist, best: Finalist, floors: Mapping[str, float]) -> Finalist:
    pairs = list(zip(best.judgements, one.judgements, strict=True))
    change = sum(a.facts * (rank(b, floors) - rank(a, floors)) for a, b in pairs) / one.facts
    error = math.hypot(*(a.facts * rank_error(a, b, floors) for a, b in pairs)) / one.facts
    return replace(one, behind=-change, error=error)
