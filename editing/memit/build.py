"""`build`: from edit requests to changed weights, reusing every δ that is already known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editing.errors import RequestError
from editing.memit.cost import Work, batch_share, preflight
from editing.memit.deltas import Delta, DeltaStore
from editing.memit.groups import Group, form_groups, identity_of
from editing.memit.prefixes import context_prefixes
from editing.memit.rates import Rates
from editing.memit.spread import Spread, restored, spread
from editing.memit.statistics import Statistics
from editing.memit.targets import Optimisation
from editing.model.architectures import Architecture, Parts, described, locate_parts
from editing.model.hooks import frozen, fused
from editing.model.memory import in_batches
from editing.model.tokens import tokenizer_digest
from editing.preflight import Preflight
from editing.progress import Progress, silent
from editing.requests import EditRequest
from editing.settings import EditSettings


@dataclass(frozen=True)
class Built:
    """What a build produced.  The model itself is left as it was."""

    tensors: dict[str, Tensor]
    """Changed parameters by full state-dict name, in the model's dtype, ready to write."""
    groups: dict[str, str]
    """Request id → content key of its key group."""
    deltas: dict[str, Delta]
    """Content key → δ of the group, to be added at the subject's last token to the output of `layer`."""
    layer: int
    """L, the target layer."""
    layers: tuple[int, ...]
    """R, the layers whose W_out changed."""
    prefixes: tuple[str, ...]
    architecture: Architecture
    """Where the model has its parts, by the table or as the settings describe it."""
    cost: dict[str, float]
    """groups, groups_optimised, groups_cached, preflight_<field>, seconds_<phase> (tokens, targets, statistics,
    keys), ridge_<layer>, growth_<layer> (‖W + Δ‖ / ‖W‖)."""


def build(
    model: Any,
    tokenizer: Any,
    requests: Sequence[EditRequest],
    settings: EditSettings,
    *,
    cache: Path,
    base_digest: str,
    corpus: Sequence[Path],
    kl_prompts: Mapping[str, Sequence[str]] | None = None,
    preserved: Sequence[EditRequest] = (),
    planned: Callable[[Preflight], None] = lambda expected: None,
    progress: Progress = silent,
) -> Built:
    """Edit `model`, as loaded from the base with `base_digest`, with all `requests` at once.

    What `cache` holds (prefixes, statistics, δs) is reused; what is computed is stored there at once,
    so an interrupted build resumes.  `kl_prompts` maps a subject to prompts whose next token is to
    stay as it is; `preserved` are requests that are already in the weights and are to stay there
    (a build in chunks).  `planned` is told what the build will take before it begins; it may raise to stop
    it.  Raises RequestError, ArchitectureError, DataError, OutOfMemory, NumericalError.
    """
    clock = _Clock()
    with frozen(model), fused(model):
        job = _prepared(
            model, tokenizer, requests, settings, cache, base_digest, corpus, kl_prompts or {}, preserved
        )
        rates = Rates.of(model, base_digest, cache)
        expected = preflight(job.work, rates.known())
        planned(expected)
        clock.lap("tokens")
        parts, layers, groups = job.work.parts, job.work.layers, job.groups
        deltas = find_deltas(job, settings, progress)
        clock.lap("targets")
        moments = job.statistics.compute(parts, layers, progress)
        clock.lap("statistics")
        stacked = torch.stack([deltas[group.key].value for group in groups]).to(model.device)
        with restored(parts, layers):
            result = spread(
                model,
                parts,
                groups,
                stacked,
                settings,
                layers,
                moments,
                preserved=job.preserved,
                progress=progress,
            )
        clock.lap("keys")
    rates.learn(job.work.flops(), clock.laps)
    owners = {request.id: group.key for group in groups for request in group.requests}
    cost = clock.costs() | _counted(job, expected) | _measured(result)
    return Built(result.tensors, owners, deltas, layers[-1], layers, job.prefixes, parts.architecture, cost)


def plan(
    model: Any,
    tokenizer: Any,
    requests: Sequence[EditRequest],
    settings: EditSettings,
    *,
    cache: Path,
    base_digest: str,
    corpus: Sequence[Path],
    kl_prompts: Mapping[str, Sequence[str]] | None = None,
    preserved: Sequence[EditRequest] = (),
) -> Preflight:
    """What `build` would take with the same arguments; raises what it would raise before it begins."""
    with frozen(model), fused(model):
        job = _prepared(
            model, tokenizer, requests, settings, cache, base_digest, corpus, kl_prompts or {}, preserved
        )
        return preflight(job.work, Rates.of(model, base_digest, cache).known())


@dataclass(frozen=True)
class _Job:
    """A build before its first optimisation: everything is tokenised, and what is cached is known."""

    prefixes: tuple[str, ...]
    groups: Sequence[Group]
    preserved: Sequence[Group]
    store: DeltaStore
    statistics: Statistics
    work: Work


def _prepared(
    model: Any,
    tokenizer: Any,
    requests: Sequence[EditRequest],
    settings: EditSettings,
    cache: Path,
    base_digest: str,
    corpus: Sequence[Path],
    kl_prompts: Mapping[str, Sequence[str]],
    preserved: Sequence[EditRequest],
) -> _Job:
    if not requests:
        raise RequestError("no requests: there is nothing to build")
    parts = locate_parts(model, described(settings))
    layers = chosen_layers(parts, settings)
    prefixes, groups, before = _formed(
        model, tokenizer, requests, preserved, settings, layers[-1], kl_prompts, base_digest, cache
    )
    store = DeltaStore(cache / "deltas")
    statistics = Statistics(model, tokenizer, settings, corpus=corpus, base_digest=base_digest, cache=cache)
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
    model: Any,
    tokenizer: Any,
    requests: Sequence[EditRequest],
    preserved: Sequence[EditRequest],
    settings: EditSettings,
    layer: int,
    kl_prompts: Mapping[str, Sequence[str]],
    base_digest: str,
    cache: Path,
) -> tuple[tuple[str, ...], list[Group], list[Group]]:
    """(prefixes, groups of the requests, groups of the preserved ones)."""
    prefixes = context_prefixes(model, tokenizer, settings, base_digest=base_digest, cache=cache)
    digest = tokenizer_digest(tokenizer)
    identity = identity_of(
        settings, base_digest=base_digest, tokenizer=digest, layer=layer, prefixes=prefixes
    )

    def formed(some: Sequence[EditRequest], kept: Mapping[str, Sequence[str]]) -> list[Group]:
        return form_groups(tokenizer, some, prefixes=prefixes, kl_prompts=kept, identity=identity)

    return prefixes, formed(requests, kl_prompts), formed(preserved, {})


def _counted(job: _Job, expected: Preflight) -> dict[str, float]:
    return {
        "groups": float(len(job.groups)),
        "groups_optimised": float(expected.optimised),
        "groups_cached": float(len(job.groups) - expected.optimised),
        **expected.costs(),
    }


def _measured(result: Spread) -> dict[str, float]:
    ridges = {f"ridge_{layer}": ridge for layer, ridge in result.ridges.items()}
    return ridges | {f"growth_{layer}": growth for layer, growth in result.growth.items()}


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


@contextmanager
def applied(model: Any, built: Built) -> Iterator[None]:
    """`model` with the built weights, inside; as it was after."""
    own = dict(model.named_parameters())
    saved = {name: own[name].detach().clone() for name in built.tensors}
    apply(model, built)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, tensor in saved.items():
                own[name].copy_(tensor)


@torch.no_grad()
def apply(model: Any, built: Built) -> None:
    """Write the built weights into `model`, for good."""
    own = dict(model.named_parameters())
    for name, tensor in built.tensors.items():
        own[name].copy_(tensor)


class _Clock:
    """Seconds of each phase (durations only, so no wall clock to inject)."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.laps[phase] = now - self._last
        self._last = now

    def costs(self) -> dict[str, float]:
        return {f"seconds_{phase}": seconds for phase, seconds in self.laps.items()}
