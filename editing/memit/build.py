"""MEMIT as an editor: from edit requests to changed weights, reusing every cached δ.

`build` also serves editors that only solve the layers in another way (`solvers.py`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from editing.cost import Cost
from editing.editors.contract import (
    BuildInputs,
    Editor,
    EditResult,
    Injection,
    LayerPart,
    Planned,
    Share,
    fail_requests,
    proceed,
)
from editing.errors import EditingError
from editing.memit.columns import UnusableKeys
from editing.memit.cost import preflight
from editing.memit.deltas import Delta, values_of
from editing.memit.groups import Group, in_share
from editing.memit.key_pass import KeyPass, key_pass, keys
from editing.memit.keys import Site
from editing.memit.low_rank import RankLimited
from editing.memit.optimise import Targets, is_systematic
from editing.memit.preparation import Job, prepare, prepare_part
from editing.memit.rates import Rates
from editing.memit.scale import Scale, scale_of
from editing.memit.solvers import LeastSquares, Solver
from editing.memit.spread import Spread, spread
from editing.memit.statistics import Moments
from editing.model.devices import device_of
from editing.model.hooks import frozen, fused
from editing.model.weights import restored
from editing.modes import Mode
from editing.preflight import Preflight, check_disk
from editing.progress import Progress, silent

Solving = Callable[[Moments], Solver]
"""Makes the solver of an editor that reuses MEMIT's δs and keys."""


@dataclass(frozen=True, kw_only=True)
class MemitResult(EditResult):
    """The result of MEMIT besides the changed weights."""

    deltas: dict[str, Delta]
    """Content key → δ of the group, to be added at the subject's last token to the output of `layer`."""
    layer: int
    """L, the target layer."""
    prefixes: tuple[str, ...]


def build(
    model: Any,
    tokenizer: Any,
    inputs: BuildInputs,
    *,
    planned: Planned = proceed,
    progress: Progress = silent,
    solving: Solving | None = None,
) -> MemitResult:
    """Edit `model`, as loaded from the base with `inputs.base_digest`, with all requests at once.

    Cached prefixes, statistics and δs are reused; new ones are stored as soon as they are computed, so an interrupted
    build resumes.  `planned` is called with the estimate first; it may raise to cancel the build.  If `inputs.partial`
    leaves nothing to edit, no weight is changed.  `solving` makes the solver of the layers; None: least squares (14).
    Raises RequestError, ArchitectureError, DataError, StorageError, OutOfMemory, NumericalError.
    """
    failed: dict[str, EditingError] = {}
    clock = _Clock()
    with frozen(model), fused(model):
        job = prepare(model, tokenizer, inputs, inputs.reporter(failed))
        rates = Rates.of(model, inputs.base_digest, inputs.cache)
        scale = _known_scale(job, solving)
        expected = _preflight(job, rates, scale, solving)
        planned(expected)
        check_disk(expected, inputs.cache)
        clock.lap("tokens")
        groups, deltas = Targets(job, progress).of(job.groups)
        clock.lap("targets")
        usable, result = groups, Spread()
        divided = KeyPass(job, groups).result() if groups and not job.preserved else None
        if divided is not None:
            result, scale = divided
        elif groups:
            moments = job.statistics.compute(job.work.parts, job.work.layers, progress)
            clock.lap("statistics")
            solver, scale = _solver(job, moments, scale, solving)
            usable, result = _spread_usable(job, groups, deltas, solver, progress)
            clock.lap("keys")
    rates.learn(job.work.flops(), clock.laps)
    return MemitResult(
        tensors=result.tensors,
        layers=job.work.layers,
        cost=_cost(job, expected, result, clock.laps, scale if usable else None),
        groups={request.id: group.key for group in usable for request in group.requests},
        injection=Injection(job.work.parts.architecture.blocks, job.layer, values_of(deltas)),
        failed=failed,
        deltas=deltas,
        layer=job.layer,
        prefixes=job.prefixes,
    )


def _known_scale(job: Job, solving: Solving | None) -> Scale | None:
    """λ and leverage if the statistics are cached; None if they have not been computed yet, or λ plays no part."""
    work = job.work
    if solving is not None or not job.groups or job.statistics.missing(work.layers):
        return None
    divided = key_pass(job)
    if divided is not None and (first := divided.solved(1)) and first[0].scale is not None:
        return first[0].scale
    return scale_of(job, job.statistics.compute(work.parts, work.layers), job.groups)


def _solver(
    job: Job, moments: Moments, scale: Scale | None, solving: Solving | None
) -> tuple[Solver, Scale | None]:
    """The solver, and the scale that it uses; None where λ plays no part."""
    solver: Solver
    if solving is not None:
        solver, scale = solving(moments), None
    else:
        scale = scale or scale_of(job, moments, job.groups)
        solver = LeastSquares(moments, scale.lam)
    most = job.inputs.max_rank
    return solver if most is None else RankLimited(solver, most), scale


def _preflight(job: Job, rates: Rates, scale: Scale | None, solving: Solving | None) -> Preflight:
    # Only least squares are solved by panels.
    work = job.work if solving is None else replace(job.work, solve_budget=sys.maxsize)
    expected = preflight(work, rates.known(), job.inputs.cache)
    if job.inputs.max_rank is not None:
        # At the first layer the residual of a group is the same in every context.
        every = job.inputs.settings.keys == "all" and len(job.work.layers) > 1
        each = len(job.prefixes) + 1 if every else 1
        expected = replace(expected, keys_each=each, max_rank=job.inputs.max_rank)
    return expected if scale is None else replace(expected, lam=scale.lam, realised=scale.realised)


def _spread_usable(
    job: Job, groups: list[Group], deltas: Mapping[str, Delta], solver: Solver, progress: Progress
) -> tuple[list[Group], Spread]:
    """Spread the groups whose keys are finite, as if the others did not exist; the model is restored."""
    work = job.work
    site = Site(work.model, work.parts, work.layers, job.inputs.settings, job.kept)
    while groups:
        stacked = torch.stack([deltas[group.key].value for group in groups]).to(
            device_of(work.parts.blocks[job.layer])
        )
        try:
            with restored(work.model, [work.parts.weight_name(layer) for layer in work.layers]):
                result = spread(site, groups, stacked, solver, preserved=job.preserved, progress=progress)
            return groups, result
        except UnusableKeys as error:
            unusable = {group.key for group in error.groups}
            usable = [group for group in groups if group.key not in unusable]
            if len(usable) == len(groups) or is_systematic(len(groups) - len(usable), len(groups)):
                raise
            lost = [request.id for group in error.groups for request in group.requests]
            fail_requests(job.failed, lost, error)
            groups = usable
    return [], Spread()


def estimate(model: Any, tokenizer: Any, inputs: BuildInputs, *, solving: Solving | None = None) -> Preflight:
    """Estimate the cost of `build` with the same inputs; raises the errors that it would raise before it begins."""
    with frozen(model), fused(model):
        job = prepare(model, tokenizer, inputs, inputs.reporter({}))
        scale = _known_scale(job, solving)
        return _preflight(job, Rates.of(model, inputs.base_digest, inputs.cache), scale, solving)


def residuals(
    model: Any, tokenizer: Any, inputs: BuildInputs, share: tuple[int, int], progress: Progress = silent
) -> Mapping[str, float]:
    """Optimise the δs of one share of the key groups into the cache; groups with a cached δ cost nothing.

    Which share a group is in follows from its content key, so that equal views are divided equally.  A group that has
    no δ is left to the build, which says why.  Raises what `build` raises for reasons that concern all groups.
    """
    clock = _Clock()
    with frozen(model), fused(model):
        job = prepare_part(model, tokenizer, inputs)
        clock.lap("tokens")
        Targets(job, progress).of(in_share(job.groups, share))
    clock.lap("targets")
    return clock.laps


def statistics(
    model: Any, tokenizer: Any, inputs: BuildInputs, share: tuple[int, int], progress: Progress = silent
) -> Mapping[str, float]:
    """Sum the second moments over one share of the sample's texts into the cache; the build adds the shares up.

    Raises what `build` raises for reasons that concern all groups.
    """
    clock = _Clock()
    with frozen(model), fused(model):
        job = prepare_part(model, tokenizer, inputs)
        clock.lap("tokens")
        if job.groups:
            job.statistics.compute_share(job.work.parts, job.work.layers, share, progress)
    clock.lap("statistics")
    return clock.laps


def solve(
    model: Any,
    tokenizer: Any,
    inputs: BuildInputs,
    step: int,
    share: tuple[int, int] = (0, 1),
    progress: Progress = silent,
    *,
    solving: Solving | None = None,
) -> Mapping[str, float]:
    """Solve the layer at index `step` of R from the columns of all shares (`key_pass.keys`), into the cache.

    It is not divided.  Raises NumericalError, and what `build` raises for reasons that concern all groups.
    """
    clock = _Clock()
    with frozen(model), fused(model):
        job = prepare_part(model, tokenizer, inputs)
        clock.lap("tokens")
        divided = key_pass(job)
        if divided is not None:
            moments = job.statistics.compute(job.work.parts, job.work.layers, progress)
            first = divided.solved(min(step, 1))
            solver, scale = _solver(job, moments, first[0].scale if first else None, solving)
            divided.solve(step, solver, scale, progress)
    clock.lap("solve")
    return clock.laps


SHARES: Mapping[Mode, Share] = {"statistics": statistics, "residuals": residuals}
"""What MEMIT and the editors that reuse its δs and statistics divide among machines."""

LAYERS: Mapping[Mode, LayerPart] = {"keys": keys, "solve": solve}
"""What they divide layer by layer."""

MEMIT = Editor(reuse="fact", edit=build, estimate=estimate, shares=SHARES, by_layer=LAYERS)
"""Each key group's δ depends only on the base and that group, and is cached under a key that covers both."""


def _cost(
    job: Job,
    expected: Preflight,
    result: Spread,
    seconds: Mapping[str, float],
    scale: Scale | None,
) -> Cost:
    return Cost(
        groups=len(job.groups),
        groups_optimised=expected.optimised,
        groups_cached=len(job.groups) - expected.optimised,
        seconds=dict(seconds),
        ridges=result.ridges,
        growth=result.growth,
        lam=0.0 if scale is None else scale.lam,
        leverage={} if scale is None else scale.leverage,
        ranks={layer: float(fit.needed) for layer, fit in result.fits.items()},
        misfits={layer: fit.error for layer, fit in result.fits.items()},
        preflight=expected,
    )


class _Clock:
    """Seconds of each phase (durations only, so no wall clock to inject)."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.laps[phase] = now - self._last
        self._last = now
