"""MEMIT as an editor: from edit requests to changed weights, reusing every δ that is already known."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from editing.cost import Cost
from editing.editors.contract import BuildInputs, Editor, EditResult, Injection, Planned, proceed
from editing.errors import RequestError
from editing.memit.cost import Work, batch_share, preflight
from editing.memit.deltas import Delta, DeltaStore
from editing.memit.groups import Group, form_groups, identity_of
from editing.memit.prefixes import context_prefixes
from editing.memit.rates import Rates
from editing.memit.spread import Spread, spread
from editing.memit.statistics import Statistics
from editing.memit.targets import Optimisation
from editing.model.architectures import Parts, described, locate_parts
from editing.model.hooks import frozen, fused
from editing.model.memory import in_batches
from editing.model.tokens import tokenizer_digest
from editing.model.weights import restored
from editing.preflight import Preflight
from editing.progress import Progress, silent
from editing.requests import EditRequest
from editing.settings import EditSettings


@dataclass(frozen=True, kw_only=True)
class MemitResult(EditResult):
    """What MEMIT returns besides the changed weights."""

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
) -> MemitResult:
    """Edit `model`, as loaded from the base with `inputs.base_digest`, with all requests at once.

    What the cache holds (prefixes, statistics, δs) is reused; what is computed is stored there at once,
    so an interrupted build resumes.  `planned` is called with the estimate before the work begins; it may
    raise to call the build off.  Raises RequestError, ArchitectureError, DataError, OutOfMemory,
    NumericalError.
    """
    clock = _Clock()
    with frozen(model), fused(model):
        job = _prepared(model, tokenizer, inputs)
        rates = Rates.of(model, inputs.base_digest, inputs.cache)
        expected = preflight(job.work, rates.known())
        planned(expected)
        clock.lap("tokens")
        parts, layers = job.work.parts, job.work.layers
        deltas = find_deltas(job, inputs.settings, progress)
        clock.lap("targets")
        moments = job.statistics.compute(parts, layers, progress)
        clock.lap("statistics")
        stacked = torch.stack([deltas[group.key].value for group in job.groups]).to(model.device)
        with restored(model, [parts.weight_name(layer) for layer in layers]):
            result = spread(
                model,
                parts,
                job.groups,
                stacked,
                inputs.settings,
                layers,
                moments,
                preserved=job.preserved,
                progress=progress,
            )
        clock.lap("keys")
    rates.learn(job.work.flops(), clock.laps)
    return _result(job, deltas, result, _cost(job, expected, result, clock.laps))


def estimate(model: Any, tokenizer: Any, inputs: BuildInputs) -> Preflight:
    """What `build` would take with the same inputs; raises what it would raise before it begins."""
    with frozen(model), fused(model):
        job = _prepared(model, tokenizer, inputs)
        return preflight(job.work, Rates.of(model, inputs.base_digest, inputs.cache).known())


MEMIT = Editor(reuse="fact", edit=build, estimate=estimate)
"""Each key group's δ depends on the base and on that group alone, and is cached under a key that says so."""


@dataclass(frozen=True)
class _Job:
    """A build before its first optimisation: everything is tokenised, and what is cached is known."""

    prefixes: tuple[str, ...]
    groups: Sequence[Group]
    preserved: Sequence[Group]
    store: DeltaStore
    statistics: Statistics
    work: Work


def _prepared(model: Any, tokenizer: Any, inputs: BuildInputs) -> _Job:
    if not inputs.requests:
        raise RequestError("no requests: there is nothing to build")
    settings = inputs.settings
    parts = locate_parts(model, described(settings))
    layers = chosen_layers(parts, settings)
    prefixes, groups, before = _formed(model, tokenizer, inputs, layers[-1])
    store = DeltaStore(inputs.cache / "deltas")
    statistics = Statistics(
        model,
        tokenizer,
        settings,
        corpus=inputs.corpus,
        base_digest=inputs.base_digest,
        cache=inputs.cache,
    )
    uncounted = len(statistics.missing(layers))
    every = [*groups, *before]
    work = Work(
        model=model,
        parts=parts,
        layers=layers,
        steps=settings.steps,
        groups=every,
        missing=[group for group in groups if not store.path(group.key).exists()],
        columns=len(every) * (len(groups[0].contexts) if settings.keys == "all" else 1),
        statistics=uncounted,
        tokens=statistics.estimated_tokens() if uncounted else 0,
    )
    return _Job(prefixes, groups, before, store, statistics, work)


def _formed(
    model: Any, tokenizer: Any, inputs: BuildInputs, layer: int
) -> tuple[tuple[str, ...], list[Group], list[Group]]:
    """(prefixes, groups of the requests, groups of the preserved ones)."""
    prefixes = context_prefixes(
        model, tokenizer, inputs.settings, base_digest=inputs.base_digest, cache=inputs.cache
    )
    identity = identity_of(
        inputs.settings,
        base_digest=inputs.base_digest,
        tokenizer=tokenizer_digest(tokenizer),
        layer=layer,
        prefixes=prefixes,
    )

    def formed(some: Sequence[EditRequest], kept: Mapping[str, Sequence[str]]) -> list[Group]:
        return form_groups(tokenizer, some, prefixes=prefixes, kl_prompts=kept, identity=identity)

    return prefixes, formed(inputs.requests, inputs.kl_prompts), formed(inputs.preserved, {})


def _result(job: _Job, deltas: dict[str, Delta], result: Spread, cost: Cost) -> MemitResult:
    parts, layers = job.work.parts, job.work.layers
    values = {key: delta.value for key, delta in deltas.items()}
    return MemitResult(
        tensors=result.tensors,
        layers=layers,
        cost=cost,
        groups={request.id: group.key for group in job.groups for request in group.requests},
        injection=Injection(parts.architecture, layers[-1], values),
        deltas=deltas,
        layer=layers[-1],
        prefixes=job.prefixes,
    )


def _cost(job: _Job, expected: Preflight, result: Spread, seconds: Mapping[str, float]) -> Cost:
    return Cost(
        groups=len(job.groups),
        groups_optimised=expected.optimised,
        groups_cached=len(job.groups) - expected.optimised,
        seconds=dict(seconds),
        ridges=result.ridges,
        growth=result.growth,
        preflight=expected,
    )


def chosen_layers(parts: Parts, settings: EditSettings) -> tuple[int, ...]:
    """R as the settings have it, or the default for this architecture and depth."""
    layers = tuple(settings.layers) or parts.default_layers()
    count = len(parts.blocks)
    if list(layers) != sorted(set(layers)) or layers[0] < 0 or layers[-1] > count - 2:
        raise RequestError(
            f"layers {layers} must be ascending and between 0 and {count - 2}: "
            "something above the last one has to read what is written there"
        )
    return layers


def find_deltas(job: _Job, settings: EditSettings, progress: Progress = silent) -> dict[str, Delta]:
    """δ of every group, from the store or optimised and stored at once."""
    model, parts, store = job.work.model, job.work.parts, job.store
    layer = job.work.layers[-1]
    stored = {group.key: store.get(group.key) for group in job.groups}
    deltas = {key: delta for key, delta in stored.items() if delta is not None}
    missing = [group for group in job.groups if group.key not in deltas]
    total, cached = len(missing), len(deltas)

    def done(group: Group, delta: Delta) -> None:
        store.put(group.key, delta)
        deltas[group.key] = delta

    def step(working: int, share: float) -> None:
        progress("targets", len(deltas) - cached + int(working * share), total)

    def run(batch: Sequence[Group]) -> None:
        left = [group for group in batch if group.key not in deltas]
        Optimisation(model, parts, left, settings, layer).run(done, step)

    in_batches(missing, batch_share(model, parts, layer, settings.steps), 1.0, run)
    return deltas


class _Clock:
    """Seconds of each phase (durations only, so no wall clock to inject)."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.laps[phase] = now - self._last
        self._last = now
