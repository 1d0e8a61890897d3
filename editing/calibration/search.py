"""A small adaptive search, one hyper-parameter after the other, in the order of their influence.

Measured on four models (docs/calibrate.md), a suitable λ decides most, then the layers, then how far δ may go
(clamp, weight decay), then the ridge and further wordings.  λ and ridge cost seconds a trial, because the δs are
cached; a change of anything that δ depends on optimises it anew.  A change is kept if it gains more than `GAIN`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from editing.calibration.counterfactuals import Split
from editing.calibration.judgement import Judgement, SearchPoint, rank
from editing.calibration.laboratory import Laboratory
from editing.errors import EditingError
from editing.model.architectures import Parts
from editing.settings import AUTO

GAIN = 0.01
"""What a change has to gain in `rank` to be kept: less is noise on a few dozen facts."""
FACTOR = 4.0
"""Step of λ, refined once by its square root."""
FARTHEST = 4
"""Steps of λ in one direction at most."""

Seconds = Callable[[], float]
"""A clock that only goes forward."""


@dataclass(frozen=True)
class SettingsTrial:
    """One candidate on one split."""

    stage: str
    candidate: SearchPoint
    changed: dict[str, Any]
    """What differs from the best candidate before it."""
    judgement: Judgement | None
    rank: float
    seconds: float
    error: str = ""
    """Why the candidate could not be built; `judgement` is then None."""


@dataclass
class SettingsSearch:
    """The search on one split, until it has nothing left to try or the time is used up."""

    laboratory: Laboratory
    split: Split
    floors: Mapping[str, float]
    parts: Parts
    talks: bool
    """Whether facts are asked in conversations too."""
    ends: float
    """Instant of `clock` from which no further trial begins."""
    clock: Seconds = time.monotonic
    trials: list[SettingsTrial] = field(default_factory=list)
    out_of_time: bool = False

    def run(self, start: SearchPoint) -> SearchPoint:
        """The best candidate found, beginning with `start`."""
        best = self._try("start", start, start)
        if best is None:
            raise EditingError(f"the first trial failed: {self.trials[-1].error}")
        for stage, alternatives in self._stages():
            best = self._stage(stage, best, alternatives)
        return best.candidate

    def best(self, count: int) -> list[SearchPoint]:
        """The `count` candidates of highest rank, best first, with λ as a number."""
        ordered = sorted((trial for trial in self.trials if trial.judgement), key=lambda trial: -trial.rank)
        return [with_lambda(trial.candidate, trial.judgement) for trial in ordered[:count]]

    def _stages(self) -> Iterator[tuple[str, Callable[[SearchPoint], Iterator[Sequence[SearchPoint]]]]]:
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
        yield "fewer layers", narrower
        yield "lambda, finer", lambda best: lambdas(best, FACTOR**0.5, steps=2)

    def _stage(
        self,
        stage: str,
        best: SettingsTrial,
        alternatives: Callable[[SearchPoint], Iterator[Sequence[SearchPoint]]],
    ) -> SettingsTrial:
        fixed = with_lambda(best.candidate, best.judgement) if stage != "layers" else best.candidate
        for direction in alternatives(fixed):
            for candidate in direction:
                found = self._try(stage, candidate, best.candidate)
                if found is None or found.rank <= best.rank + GAIN:
                    break
                best = found
        return best

    def _try(self, stage: str, candidate: SearchPoint, before: SearchPoint) -> SettingsTrial | None:
        """One trial; None if it failed, was made already, or there is no time left."""
        if any(trial.candidate == candidate for trial in self.trials):
            return None
        if self.trials and self.clock() >= self.ends:
            self.out_of_time = True
            return None
        began, judged, error = self.clock(), None, ""
        try:
            judged = self.laboratory.judged(candidate, self.split.edits, self.split.untouched)
        except EditingError as failure:
            error = str(failure)
        value = rank(judged, self.floors) if judged is not None else float("-inf")
        trial = SettingsTrial(
            stage, candidate, difference(before, candidate), judged, value, self.clock() - began, error
        )
        self.trials.append(trial)
        self.laboratory.progress("search", len(self.trials), len(self.trials) + 1)
        return trial if judged is not None else None


def difference(before: SearchPoint, after: SearchPoint) -> dict[str, Any]:
    """The settings of `after` that differ."""
    changed = {
        name: getattr(after.settings, name)
        for name in after.settings.__dataclass_fields__
        if getattr(after.settings, name) != getattr(before.settings, name)
    }
    return changed | ({"variants": after.variants} if after.variants != before.variants else {})


def changed(candidate: SearchPoint, **settings: Any) -> SearchPoint:
    """The candidate with other settings."""
    return replace(candidate, settings=replace(candidate.settings, **settings))


def with_lambda(candidate: SearchPoint, judged: Judgement | None) -> SearchPoint:
    """The candidate with the λ that `auto` stood for in its trial, so that a change of another setting keeps it."""
    if candidate.settings.lam != AUTO or judged is None or not judged.lam:
        return candidate
    return changed(candidate, lam=judged.lam)


def optimisers(best: SearchPoint) -> Iterator[Sequence[SearchPoint]]:
    """L-BFGS, which needs a third of Adam's time; it is tried from Adam only."""
    if best.settings.optimiser == "adam":
        yield [changed(best, optimiser="lbfgs", steps=18)]


def windows(best: SearchPoint, parts: Parts) -> Iterator[Sequence[SearchPoint]]:
    """Layers below and above those of `best`, half a window at a time; λ is derived again for each."""
    layers = best.settings.layers
    step = max(1, len(layers) // 2)
    for sign in (-1, 1):
        direction = []
        for distance in (1, 2, 3):
            moved = tuple(layer + sign * step * distance for layer in layers)
            kept = tuple(
                layer for layer in moved if layer in parts.editable and layer < len(parts.blocks) - 1
            )
            if kept and kept != layers and len(kept) == len(moved):
                direction.append(changed(best, layers=kept, lam=AUTO))
        if direction:
            yield direction
    if layers[0] > 0 and len(parts.blocks) <= 8:
        yield [changed(best, layers=tuple(range(layers[-1] + 1)), lam=AUTO)]


def lambdas(best: SearchPoint, factor: float, steps: int = FARTHEST) -> Iterator[Sequence[SearchPoint]]:
    """λ raised, and lowered, by `factor` at a time."""
    if best.settings.lam == AUTO:
        return  # nothing could be edited, so that no λ was derived
    lam = float(best.settings.lam)
    for by in (factor, 1 / factor):
        yield [changed(best, lam=float(f"{lam * by**step:.3g}")) for step in range(1, steps + 1)]


def clamps(best: SearchPoint) -> Iterator[Sequence[SearchPoint]]:
    """A longer δ, and a shorter one."""
    clamp = best.settings.clamp
    yield [changed(best, clamp=clamp * 2), changed(best, clamp=clamp * 4)]
    yield [changed(best, clamp=clamp / 2)]


def decays(best: SearchPoint) -> Iterator[Sequence[SearchPoint]]:
    """No weight decay, or some."""
    yield [changed(best, weight_decay=0.0 if best.settings.weight_decay else 0.5)]


def kls(best: SearchPoint) -> Iterator[Sequence[SearchPoint]]:
    """More weight on what the subject's other prompts say, which protects its other relations; and less."""
    kl = best.settings.kl
    yield [changed(best, kl=kl * 8), changed(best, kl=kl * 32)]
    yield [changed(best, kl=kl / 8)]


def keeps(best: SearchPoint) -> Iterator[Sequence[SearchPoint]]:
    """The subject's other relations as sentences whose keys stay as they are; they cost paraphrases."""
    yield [changed(best, keep=weight) for weight in (0.2, 1.0) if weight > best.settings.keep]
    if best.settings.keep:
        yield [changed(best, keep=0.0)]


def conversations(best: SearchPoint) -> Iterator[Sequence[SearchPoint]]:
    """With the questions of conversations, or without."""
    yield [changed(best, chat=not best.settings.chat)]


def wordings(best: SearchPoint) -> Iterator[Sequence[SearchPoint]]:
    """One further wording, or none."""
    yield [replace(best, variants=0 if best.variants else 1)]


def ridges(best: SearchPoint) -> Iterator[Sequence[SearchPoint]]:
    """A ridge on the statistics, or none."""
    ridge = best.settings.ridge
    yield [changed(best, ridge=value) for value in (0.01, 0.1) if value > ridge]
    if ridge:
        yield [changed(best, ridge=0.0)]


def narrower(best: SearchPoint) -> Iterator[Sequence[SearchPoint]]:
    """Fewer layers below the same upper end, for which the δs are the same."""
    layers = best.settings.layers
    if len(layers) > 1:
        yield [changed(best, layers=layers[len(layers) // 2 :]), changed(best, layers=layers[-1:])]
