"""Sixty daily edits of one model, in one way; the weights of the last judged day are kept, to carry on from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from editing.baselines.one_gradient import OneGradient
from editing.editors.contract import Edit
from editing.errors import EditingError
from editing.memit import tensor_cache
from editing.model.weights import swapped
from editing.requests import EditRequest
from editing.settings import EditSettings
from kbsync.experiments.calendar import EditDay, reverted
from kbsync.experiments.cases import EditCase
from kbsync.experiments.measuring import Bench, EditTrial
from kbsync.experiments.scores import TrialScores
from kbsync.experiments.scratch import scratch_cache

ONE_GRADIENT = "one_gradient"
Weights = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Way:
    """How each day's change is made."""

    name: str
    editor: str
    rebuild: bool = False
    """From the base with all facts that hold, instead of from the day before with the day's own."""
    preserves: bool = False
    """Whether the keys of earlier facts are added to the system that is solved."""


@dataclass(frozen=True, slots=True)
class DayScores:
    """One judged day."""

    day: int
    wanted: int
    scores: TrialScores
    """Of all facts that hold."""
    reverted: float | None
    """Share of the retracted facts that are answered as the base does, strictly; None if there is none."""
    seconds: float = 0.0
    """Time of this day's edit."""


@dataclass(frozen=True)
class Walk:
    """One way through one calendar."""

    bench: Bench
    way: Way
    settings: EditSettings
    variants: int
    days: Sequence[EditDay]
    judged: frozenset[int]

    def run(self) -> list[DayScores]:
        """The judged days, those that were stored before among them."""
        keys = {day.number: self.key(day) for day in self.days if day.number in self.judged}
        found = {number: self.bench.kept.get(key, DayScores) for number, key in keys.items()}
        if all(found.values()):
            return [one for one in found.values() if one]
        self.bench.draw_text(self.settings)
        weights, done = self._resumed()
        for day in self.days:
            self.bench.progress(f"days, {self.way.name}", day.number, len(self.days))
            if day.number <= done or (self.way.rebuild and day.number not in self.judged):
                continue
            began = self.bench.clock()
            try:
                weights = self.after(day, weights)
            except EditingError as error:
                return [one for one in found.values() if one] + [self._failed(day, error)]
            seconds = self.bench.clock() - began
            if day.number in self.judged:
                found[day.number] = self.bench.kept.put(keys[day.number], self.ask(day, weights, seconds))
                if not self.way.rebuild and self._stateful is None:
                    tensor_cache.store(self._state(), dict(weights), {"day": str(day.number)})
        self._state().unlink(missing_ok=True)
        return [one for one in found.values() if one]

    def after(self, day: EditDay, weights: Weights) -> Weights:
        """The changed weights at the end of a day that begins with `weights`."""
        if self.way.rebuild:
            inputs = self.bench.inputs(day.wanted, self.settings, self.variants)
            return self.bench.edited(inputs).tensors
        changes = [*day.added, *map(reverted, day.retracted)]
        if not changes:
            return weights
        # The δs of other weights are of no use, so the day has a cache of its own.
        with scratch_cache(self.bench.cache) as cache, swapped(self.bench.base.model, weights):
            inputs = replace(
                self.bench.inputs(changes, self.settings, self.variants),
                cache=cache,
                preserved=self._preserved(day) if self.way.preserves else (),
            )
            return {**weights, **self.bench.edited(inputs, self._stateful).tensors}

    def ask(self, day: EditDay, weights: Weights, seconds: float = 0.0) -> DayScores:
        """The answers at the end of a day."""
        bench = self.bench
        trial = EditTrial(self.way.name, self.settings, day.wanted, day.number, self.variants)
        gone = replace(trial, cases=tuple(map(reverted, day.gone)))
        exam = bench.exam(trial)
        with swapped(bench.base.model, weights):
            scores = bench.judged(trial, exam)
            back = [fact.strict for fact in bench.asked(gone)] if day.gone else []
        return DayScores(
            day.number, len(day.wanted), scores, sum(back) / len(back) if back else None, seconds
        )

    @cached_property
    def _stateful(self) -> Edit | None:
        """One-gradient editing normalises by what it has seen on all days; interrupted, it starts from the first."""
        return OneGradient().edit if self.way.editor == ONE_GRADIENT and not self.way.rebuild else None

    def key(self, day: EditDay) -> str:
        """Covers everything that happened up to the day."""
        return self.bench.kept.key(self._identity(day.number))

    def _identity(self, until: int) -> dict[str, Any]:
        past = [day for day in self.days if day.number <= until]
        return self.bench.identity(self.settings) | {
            "way": asdict(self.way),
            "variants": self.variants,
            "days": [[_ids(day.added), _ids(day.retracted), _ids(day.wanted)] for day in past],
            "cases": [asdict(case) for case in past[-1].wanted],
        }

    def _preserved(self, day: EditDay) -> Sequence[EditRequest]:
        """Earlier facts that still hold, without those that the day changes."""
        today = {case.record.request.id for case in (*day.added, *day.retracted)}
        return [
            request
            for case in day.wanted
            if case.record.request.id not in today
            for request in case.requests(self.variants)
        ]

    def _failed(self, day: EditDay, error: EditingError) -> DayScores:
        return DayScores(day.number, len(day.wanted), TrialScores((), error=str(error)), None)

    def _state(self) -> Path:
        key = self.bench.kept.key(self._identity(self.days[-1].number) | {"state": True})
        return self.bench.cache / "experiments" / f"{key}.safetensors"

    def _resumed(self) -> tuple[Weights, int]:
        """The weights of the last judged day, and its number; the base's before the first day."""
        found = tensor_cache.load(self._state(), str(self.bench.base.model.device))
        return ({}, 0) if found is None else (found[0], int(found[1]["day"]))


def _ids(cases: Sequence[EditCase]) -> list[str]:
    return [f"{case.record.request.id} {case.record.request.target}" for case in cases]
