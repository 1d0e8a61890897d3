"""A small adaptive search, one hyper-parameter after the other, in the order of their influence.

Measured on four models (docs/calibrate.md), a suitable λ decides most, then the layers, then how far δ may go
(clamp, weight decay), then the ridge and further wordings.  λ and ridge cost seconds a trial, because the δs are
cached; a change of anything that δ depends on optimises it again.  A change is kept if it gains more than `GAIN`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from editing.calibration.alternatives import (
    changed,
    clamps,
    conversations,
    decays,
    difference,
    keeps,
    kls,
    lambdas,
    narrower,
    optimisers,
    ridges,
    windows,
    wordings,
)
from editing.calibration.counterfactuals import Split
from editing.calibration.judgement import Judgement, SearchPoint, rank
from editing.calibration.laboratory import Laboratory
from editing.calibration.pace import LeftOut
from editing.errors import EditingError
from editing.model.architectures import Parts
from editing.settings import AUTO

GAIN = 0.02
"""What a change has to gain in `rank` to be kept: less is noise on a few dozen facts."""
JOINED = frozenset({"clamp", "weight_decay", "kl", "keep", "ridge", "chat", "variants"})
"""Settings that are also changed together."""
NEUTRAL = 0.1
"""What a change may lose in `rank` by itself and still be tried together with others."""
FACTOR = 4.0
"""Step of λ, refined once by its square root."""
REUSING = frozenset({"lambda", "kept relations", "ridge", "fewer layers", "lambda, finer"})
"""Stages whose trials reuse δs."""
SCARCE = 12
"""With time for fewer trials that optimise δs, those that reuse them come first."""

Seconds = Callable[[], float]
"""A clock that only goes forward."""
Stage = tuple[str, Callable[[SearchPoint], Iterator[Sequence[SearchPoint]]]]
"""A name, and what is tried instead of the best settings so far."""


@dataclass(frozen=True)
class SettingsTrial:
    """One candidate on the search split and, unless it looked worse there, on the check split."""

    stage: str
    candidate: SearchPoint
    changed: dict[str, Any]
    """What differs from the best candidate before it."""
    judgement: Judgement | None
    rank: float
    seconds: float
    error: str = ""
    """Why the candidate could not be built; `judgement` is then None."""
    checked: float | None = None
    """Its rank on the check split; None if it was not judged there."""
    weight: float = 0.5
    """Share of the check split's facts among those of both splits."""

    @property
    def value(self) -> float:
        """What trials that were checked are compared by: the mean of both ranks, in which each fact counts alike."""
        if self.checked is None:
            return self.rank
        return (1 - self.weight) * self.rank + self.weight * self.checked

    @property
    def fixed(self) -> SearchPoint:
        """The candidate with λ as a number."""
        return with_lambda(self.candidate, self.judgement)


@dataclass
class SettingsSearch:
    """The search, until a pass over all stages improves nothing or the time is used up.

    A change is kept if it gains on the search split, and then, by more than noise, on both splits together: what looks
    better on two dozen facts often is not on the next two dozen.
    """

    laboratory: Laboratory
    split: Split
    check: Split
    floors: Mapping[str, float]
    parts: Parts
    talks: bool
    """Whether facts are asked in conversations too."""
    ends: Callable[[], float]
    """Instant of `clock` at which the last trial should have ended; asked before each trial, since what comes after
    the search is estimated by the pace of its trials."""
    clock: Seconds = time.monotonic
    trials: list[SettingsTrial] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def run(self, start: SearchPoint) -> SettingsTrial:
        """The best trial, beginning with `start`; raises EditingError if `start` cannot be built."""
        first = self._first(start)
        if first.checked is None:
            return first
        best, improving = first, True
        while improving:
            # Settings depend on one another: what did not help at first may help with others changed.
            before = best
            for stage, alternatives in self._ordered(best):
                best = self._stage(stage, best, alternatives)
            improving = best is not before and not self.left_out
        return best

    def _first(self, start: SearchPoint) -> SettingsTrial:
        first = self._judged("start", start, start)
        if first.judgement is None:
            raise EditingError(f"the first trial failed: {first.error}")
        expected = self.laboratory.expected(first.fixed, self.check.edits, self.check.untouched)
        if self.clock() + expected > self.ends():
            self.left_out.append(LeftOut("search", "everything but the settings in force", expected))
        else:
            first = self._checked(first)
        self._note(first)
        return first

    def _ordered(self, best: SettingsTrial) -> list[Stage]:
        """The stages; if time is scarce, those first that cost little of it.

        A large model on a small budget would otherwise end among the layers, with the λ that it began with.
        """
        stages = list(self._stages())
        # Another seed has other δs, so that this is the time of a trial that can reuse none.
        optimised = self._expected(changed(best.fixed, seed=best.fixed.settings.seed + 1))
        if self.ends() - self.clock() < SCARCE * optimised:
            stages.sort(key=lambda stage: stage[0] not in REUSING)
        return stages

    def _stages(self) -> Iterator[Stage]:
        """(name, what to try), in the order in which it is tried.

        Each yields directions: in a direction, the next candidate is tried only if the one before was better.
        """
        yield "optimiser", optimisers
        yield "layers", lambda best: windows(best, self.parts)
        yield "lambda", lambda best: lambdas(best, FACTOR)
        yield "clamp", clamps
        yield "weight decay", decays
        yield "KL", kls
        if self.talks:
            yield "conversations", conversations
        yield "wordings", wordings
        yield "kept relations", keeps
        yield "ridge", ridges
        yield "together", self._together
        yield "fewer layers", narrower
        yield "lambda, finer", lambda best: lambdas(best, FACTOR**0.5, steps=2)

    def _together(self, best: SearchPoint) -> Iterator[Sequence[SearchPoint]]:
        """Every setting whose change did next to no harm by itself, changed at once; and with λ derived again.

        Settings help one another: a longer δ, for example, needs a higher weight on what has to stay.
        """
        reference = max(trial.rank for trial in self.trials if trial.fixed == best)
        found: dict[str, tuple[float, Any]] = {}
        for trial in self.trials:
            single = {
                name: value for name, value in difference(best, trial.candidate).items() if name != "lam"
            }
            if len(single) == 1 and set(single) <= JOINED and trial.rank > reference - NEUTRAL:
                name, value = single.popitem()
                found[name] = max(found.get(name, (trial.rank, value)), (trial.rank, value))
        if len(found) > 1:
            values = {name: value for name, (_, value) in found.items()}
            joined = replace(best, variants=values.pop("variants", best.variants))
            yield [changed(joined, **values)]
            yield [changed(joined, **values, lam=AUTO)]

    def _stage(
        self,
        stage: str,
        best: SettingsTrial,
        alternatives: Callable[[SearchPoint], Iterator[Sequence[SearchPoint]]],
    ) -> SettingsTrial:
        fixed = best.fixed if stage != "layers" else best.candidate
        for direction in alternatives(fixed):
            for candidate in direction:
                found = self._try(stage, candidate, best)
                if found is None or found.checked is None or found.value <= best.value + GAIN:
                    break
                best = found
        return best

    def _try(self, stage: str, candidate: SearchPoint, best: SettingsTrial) -> SettingsTrial | None:
        """One trial, checked unless it looks worse than `best`; None if it was made already, or there is no time."""
        if any(trial.candidate == candidate for trial in self.trials):
            return None
        expected = self._expected(candidate)
        if self.clock() + expected > self.ends():
            what = _listed(stage, difference(best.candidate, candidate))
            self.left_out.append(LeftOut("search", what, expected))
            return None
        found = self._judged(stage, candidate, best.candidate)
        # A joint change may look a little worse on the smaller split, where most of what it is for does not show.
        if found.rank > best.rank - (NEUTRAL if stage == "together" else GAIN):
            found = self._checked(found)
        self._note(found)
        return found

    def _expected(self, candidate: SearchPoint) -> float:
        """Seconds of a trial that is checked."""
        splits = (self.split, self.check)
        return sum(self.laboratory.expected(candidate, split.edits, split.untouched) for split in splits)

    def _judged(self, stage: str, candidate: SearchPoint, before: SearchPoint) -> SettingsTrial:
        began, judged, error = self.clock(), None, ""
        try:
            judged = self.laboratory.judged(candidate, self.split.edits, self.split.untouched)
        except EditingError as failure:
            error = str(failure)
        value = rank(judged, self.floors) if judged is not None else float("-inf")
        seconds = self.clock() - began
        return SettingsTrial(stage, candidate, difference(before, candidate), judged, value, seconds, error)

    def _checked(self, trial: SettingsTrial) -> SettingsTrial:
        began = self.clock()
        try:
            judged = self.laboratory.judged(trial.fixed, self.check.edits, self.check.untouched)
        except EditingError as failure:
            return replace(trial, error=f"on the check split: {failure}")
        seconds = trial.seconds + self.clock() - began
        weight = len(self.check.edits) / (len(self.split.edits) + len(self.check.edits))
        return replace(trial, checked=rank(judged, self.floors), weight=weight, seconds=seconds)

    def _note(self, trial: SettingsTrial) -> None:
        self.trials.append(trial)
        self.laboratory.progress("search", len(self.trials), len(self.trials) + 1)


def _listed(stage: str, changed: Mapping[str, Any]) -> str:
    return f"{stage} ({', '.join(f'{name} = {value}' for name, value in changed.items())})"


def with_lambda(candidate: SearchPoint, judged: Judgement | None) -> SearchPoint:
    """The candidate with the λ that `auto` stood for in its trial, so that a change of another setting keeps it."""
    if candidate.settings.lam != AUTO or judged is None or not judged.lam:
        return candidate
    return changed(candidate, lam=judged.lam)
