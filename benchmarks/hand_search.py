"""The best settings of a grid, searched without `kbsync calibrate`: what its settings are compared with.

    OMP_NUM_THREADS=1 python -m benchmarks.hand_search --minutes 10 --out benchmarks/results gpt2=DIRECTORY,FACTS

What somebody would do who knows the method and has the time: first layers × λ, then, for the best layers, clamp ×
weight decay × KL weight × wordings × λ, and last ridge × kept relations × λ.  Every point is judged on the search split
and on the check split of the calibration; the one with the best mean S is judged on the test split, once.  The time
limit cuts the grid where it is; how much of it was tried is written beside the scores.  δs are kept in --home.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import torch

from benchmarks.calibrate_models import laboratory, model_options, row, settings_of, write
from editing.calibration.alternatives import changed, difference
from editing.calibration.calibrate import CalibrationPlan, asked, explicit
from editing.calibration.counterfactuals import Split
from editing.calibration.judgement import SearchPoint, rank
from editing.calibration.laboratory import Laboratory
from editing.errors import EditingError
from editing.model.architectures import Parts, described, locate_parts
from kbsync.home import Home

LAMBDAS = (1.0, 0.25, 4.0, 16.0)
"""Multiples of the λ that leverage gives."""
SHALLOW = 8
"""Up to so many blocks, every window of two or three layers that begins in the lower half is tried."""
SHIFTS = (0, -2, 2, 4, 8)
"""In deeper models, how far the default layers are moved."""


@dataclass(frozen=True)
class Point:
    """One point of the grid, on both splits."""

    stage: str
    candidate: SearchPoint
    s: float
    """Mean S of both splits."""
    rank: float
    """Mean of what `kbsync calibrate` maximises."""


@dataclass
class Grid:
    """The search of one model."""

    laboratory: Laboratory
    splits: Sequence[Split]
    floors: dict[str, float]
    ends: float
    points: list[Point] = field(default_factory=list)
    skipped: int = 0
    failed: int = 0

    def run(self, start: SearchPoint, parts: Parts) -> Point:
        """The point with the best S; raises EditingError if none could be built."""
        for layers in windows(start.settings.layers, parts):
            derived = self._derived(changed(start, layers=layers))
            if derived is not None:
                self._try_all("layers and λ", scaled(derived, LAMBDAS))
        self._try_all("how far δ goes", reaches(self.best.candidate))
        self._try_all("the solve", solves(self.best.candidate))
        return self.best

    @property
    def best(self) -> Point:
        if not self.points:
            raise EditingError("no point of the grid could be built in the time")
        return max(self.points, key=lambda point: (point.s, point.rank))

    def _derived(self, candidate: SearchPoint) -> SearchPoint | None:
        """The candidate with the λ that leverage gives."""
        first = self.splits[0]
        if time.monotonic() > self.ends:
            self.skipped += len(LAMBDAS)
            return None
        try:
            judged = self.laboratory.judged(candidate, first.edits, first.untouched)
        except EditingError:
            self.failed += len(LAMBDAS)
            return None
        return changed(candidate, lam=judged.lam)

    def _try_all(self, stage: str, candidates: Iterator[SearchPoint]) -> None:
        for candidate in list(candidates):
            if time.monotonic() > self.ends:
                self.skipped += 1
                continue
            if any(point.candidate == candidate for point in self.points):
                continue
            try:
                found = [self.laboratory.judged(candidate, one.edits, one.untouched) for one in self.splits]
            except EditingError:
                self.failed += 1
                continue
            score = sum(one.s or 0.0 for one in found) / len(found)
            value = sum(rank(one, self.floors) for one in found) / len(found)
            self.points.append(Point(stage, candidate, score, value))
            note = f"{len(self.points)}: S {score:.3f}, rank {value:.2f} ({stage})"
            print(f"{time.strftime('%H:%M:%S')} {note}", file=sys.stderr, flush=True)


def windows(default: tuple[int, ...], parts: Parts) -> list[tuple[int, ...]]:
    """The layers that are tried, the default ones first."""
    count = len(parts.blocks)
    if count <= SHALLOW:
        spans = [(low, low + size) for low in range(count // 2) for size in (2, 3)]
        found = [default, *(tuple(range(low, high)) for low, high in spans)]
    else:
        found = [tuple(layer + shift for layer in default) for shift in SHIFTS]
    usable = [layers for layers in found if layers[0] >= 0 and layers[-1] < count - 1]
    return [layers for layers in dict.fromkeys(usable) if set(layers) <= set(parts.editable)]


def scaled(candidate: SearchPoint, factors: Sequence[float]) -> Iterator[SearchPoint]:
    """The candidate with multiples of its λ."""
    for factor in factors:
        yield changed(candidate, lam=float(f"{float(candidate.settings.lam) * factor:.3g}"))


def reaches(best: SearchPoint) -> Iterator[SearchPoint]:
    """How far δ may go, and the wordings, with λ below and above."""
    for clamp, decay, kl, variants in product((0.75, 1.5, 3.0), (0.5, 0.0), (0.0625, 0.5), (0, 1)):
        moved = replace(changed(best, clamp=clamp, weight_decay=decay, kl=kl), variants=variants)
        yield from scaled(moved, (1.0, 0.25, 4.0))


def solves(best: SearchPoint) -> Iterator[SearchPoint]:
    """Ridge and kept relations, for which the δs are the same."""
    for ridge, keep in product((0.0, 0.02, 0.1), (0.0, 0.2)):
        yield from scaled(changed(best, ridge=ridge, keep=keep), (1.0, 0.5, 2.0))


def searched(plan: CalibrationPlan, minutes: float) -> dict[str, Any]:
    """The grid's best point, on the test split too."""
    began = time.monotonic()
    where = laboratory(plan)
    splits = asked(plan)[1]
    start = explicit(plan)
    where.prepare(start)
    grid = Grid(where, [splits["search"], splits["check"]], dict(plan.floors), began + 60 * minutes)
    parts = locate_parts(plan.base.model, described(start.settings))
    best = grid.run(start, parts)
    test = splits["test"]
    return {
        "rows": {"by hand": row(where.judged(best.candidate, test.edits, test.untouched))},
        "settings": settings_of(best.candidate),
        "points": [(one.stage, difference(start, one.candidate), one.s, one.rank) for one in grid.points],
        "skipped": grid.skipped,
        "failed": grid.failed,
        "seconds": time.monotonic() - began,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Search each model that is named."""
    parser = model_options(__doc__, "hand-search-home", "+")
    parser.add_argument("--minutes", type=float, default=20.0, help="limit for each model")
    typed = parser.parse_args(arguments)
    torch.set_num_threads(typed.threads)
    for named in typed.models:
        plan = named.plan(Home(typed.home.resolve()), typed.device, typed.minutes, typed.start)
        write(typed.out / f"calibrate-{named.name}-by-hand.json", searched(plan, typed.minutes), typed.device)


if __name__ == "__main__":
    main()
