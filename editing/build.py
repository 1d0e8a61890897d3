"""`build`: from edit requests to changed weights, reusing every δ that is already known."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editing.architectures import Architecture, Parts, described, locate_parts
from editing.cost import Preflight, batch_share, preflight
from editing.deltas import Delta, DeltaStore
from editing.errors import RequestError
from editing.groups import Group, form_groups, identity_of
from editing.hooks import frozen, fused
from editing.memory import in_batches
from editing.prefixes import context_prefixes
from editing.progress import Progress, silent
from editing.requests import EditRequest
from editing.settings import EditSettings
from editing.spread import Spread, restored, spread
from editing.statistics import second_moments
from editing.targets import Optimisation
from editing.tokens import tokenizer_digest


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
    """groups, groups_optimised, groups_cached, floor_flops, bytes_batch, bytes_solve, seconds_<phase>,
    ridge_<layer>, growth_<layer> (‖W + Δ‖ / ‖W‖)."""


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
    progress: Progress = silent,
) -> Built:
    """Edit `model`, as loaded from the base with `base_digest`, with all `requests` at once.

    What `cache` holds (prefixes, statistics, δs) is reused; what is computed is stored there at once,
    so an interrupted build resumes.  `kl_prompts` maps a subject to prompts whose next token is to
    stay as it is; `preserved` are requests that are already in the weights and are to stay there
    (a build in chunks).  Raises RequestError, ArchitectureError, DataError, OutOfMemory, NumericalError.
    """
    if not requests:
        raise RequestError("no requests: there is nothing to build")
    parts = locate_parts(model, described(settings))
    layers = chosen_layers(parts, settings)
    clock = _Clock()
    with frozen(model), fused(model):
        prefixes, groups, before = _formed(
            model, tokenizer, requests, preserved, settings, layers[-1], kl_prompts or {}, base_digest, cache
        )
        clock.lap("tokens")
        store = DeltaStore(cache / "deltas")
        deltas, planned = find_deltas(model, parts, groups, settings, layers, store, progress)
        clock.lap("targets")
        moments = second_moments(
            model,
            tokenizer,
            parts,
            layers,
            settings,
            corpus=corpus,
            base_digest=base_digest,
            cache=cache,
            progress=progress,
        )
        clock.lap("statistics")
        stacked = torch.stack([deltas[group.key].value for group in groups]).to(model.device)
        with restored(parts, layers):
            result = spread(
                model, parts, groups, stacked, settings, layers, moments, preserved=before, progress=progress
            )
        clock.lap("spread")
    owners = {request.id: group.key for group in groups for request in group.requests}
    cost = clock.seconds | _counted(groups, planned) | _measured(result)
    return Built(result.tensors, owners, deltas, layers[-1], layers, prefixes, parts.architecture, cost)


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
    prefixes = context_prefixes(
        model,
        tokenizer,
        count=settings.prefixes,
        tokens=settings.prefix_tokens,
        seed=settings.seed,
        base_digest=base_digest,
        cache=cache,
    )
    digest = tokenizer_digest(tokenizer)
    identity = identity_of(
        settings, base_digest=base_digest, tokenizer=digest, layer=layer, prefixes=prefixes
    )

    def formed(some: Sequence[EditRequest], kept: Mapping[str, Sequence[str]]) -> list[Group]:
        return form_groups(tokenizer, some, prefixes=prefixes, kl_prompts=kept, identity=identity)

    return prefixes, formed(requests, kl_prompts), formed(preserved, {})


def _counted(groups: Sequence[Group], planned: Preflight) -> dict[str, float]:
    return {
        "groups": float(len(groups)),
        "groups_optimised": float(planned.groups),
        "groups_cached": float(len(groups) - planned.groups),
        "floor_flops": planned.flops,
        "bytes_batch": float(planned.bytes_batch),
        "bytes_solve": float(planned.bytes_solve),
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


def find_deltas(
    model: Any,
    parts: Parts,
    groups: Sequence[Group],
    settings: EditSettings,
    layers: Sequence[int],
    store: DeltaStore,
    progress: Progress = silent,
) -> tuple[dict[str, Delta], Preflight]:
    """δ of every group, from `store` or optimised and stored at once; and what those not stored were to cost."""
    layer = layers[-1]
    stored = {group.key: store.get(group.key) for group in groups}
    deltas = {key: delta for key, delta in stored.items() if delta is not None}
    missing = [group for group in groups if group.key not in deltas]
    total, cached = len(missing), len(deltas)
    planned = preflight(model, parts, missing, layers, settings.steps)

    def done(group: Group, delta: Delta) -> None:
        store.put(group.key, delta)
        deltas[group.key] = delta

    def step(working: int, share: float) -> None:
        progress("targets", len(deltas) - cached + int(working * share), total)

    def run(batch: Sequence[Group]) -> None:
        left = [group for group in batch if group.key not in deltas]
        Optimisation(model, parts, left, settings, layer).run(done, step)

    in_batches(missing, batch_share(model, parts, layer, settings.steps), 1.0, run)
    return deltas, planned


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
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[f"seconds_{phase}"] = now - self._last
        self._last = now
