"""Spreading δ over the layers R (14, 17–20): keys, residuals, and a least-squares update of each W_out.

K is never held: for each layer, λ E[k kᵀ] + K Kᵀ and K Rᵀ are summed over batches of key groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from editing.architectures import Parts
from editing.groups import Group
from editing.hooks import on_input, on_output
from editing.memory import free_bytes, in_batches
from editing.norms import through_norm
from editing.passes import prepare, read
from editing.progress import Progress, silent
from editing.settings import EditSettings
from editing.solve import solve


@dataclass
class Spread:
    """What an update of all layers did."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    """New weights by name in the state dict, in the model's dtype."""
    ridges: dict[int, float] = field(default_factory=dict)
    """What was added to the diagonal of each layer's system so that it could be factorised."""
    growth: dict[int, float] = field(default_factory=dict)
    """‖W + Δ‖ / ‖W‖ of each layer."""


def context_weights(count: int) -> list[float]:
    """Weight of each context: ½ for the bare prompt, ½ shared by the prefixes (the released average by type)."""
    return [1.0] if count == 1 else [0.5] + [0.5 / (count - 1)] * (count - 1)


@torch.no_grad()
def spread(
    model: Any,
    parts: Parts,
    groups: Sequence[Group],
    deltas: Tensor,
    settings: EditSettings,
    layers: Sequence[int],
    moments: Callable[[int], Tensor],
    progress: Progress = silent,
) -> Spread:
    """Update W_out of each of `layers`, ascending, in place; `deltas` is [G, d], a row a group.

    Each layer takes an equal share of what is left to do, measured again after each update (20).
    """
    collected = Collector(model, parts, groups, deltas, settings, max(layers))
    result = Spread()
    for index, layer in enumerate(layers):
        share = 1.0 / (len(layers) - index)
        normal, cross = collected.sums(layer, share, first=index == 0, progress=_part(progress, index, layers))
        normal.add_(moments(layer).to(normal), alpha=settings.lam)
        update, result.ridges[layer] = solve(normal, cross)  # [d_k, d] = Δᵀ
        weight = parts.writer(layer).weight
        assert isinstance(weight, Tensor)
        before = weight.double().norm()
        delta = update if parts.transposed(layer) else update.T
        weight.copy_(weight.double() + delta)
        result.growth[layer] = float(weight.double().norm() / before)
        result.tensors[parts.weight_name(layer)] = weight.detach().clone()
        progress("solve", index + 1, len(layers))
    return result


def _part(progress: Progress, index: int, layers: Sequence[int]) -> Progress:
    """Progress of one layer as a part of all."""
    return lambda phase, done, total: progress(phase, index * total + done, len(layers) * total)


@contextmanager
def restored(parts: Parts, layers: Sequence[int]) -> Iterator[None]:
    """The weights of `layers` as they were, when the block ends, on errors too."""
    weights = {layer: parts.writer(layer).weight for layer in layers}
    saved = {layer: weight.detach().clone() for layer, weight in weights.items()}  # type: ignore[operator]
    try:
        yield
    finally:
        with torch.no_grad():
            for layer, weight in weights.items():
                weight.copy_(saved[layer])  # type: ignore[operator]


class Collector:
    """Keys and residuals of all groups, layer after layer, summed as they come."""

    def __init__(
        self, model: Any, parts: Parts, groups: Sequence[Group], deltas: Tensor, settings: EditSettings, top: int
    ) -> None:
        self.model, self.parts, self.top = model, parts, top
        self.groups, self.settings = list(groups), settings
        self.order = sorted(range(len(groups)), key=lambda i: (len(groups[i].contexts[0]), groups[i].key))
        self.weights = context_weights(len(groups[0].contexts))
        self.dtype = torch.promote_types(model.dtype, torch.float32)
        self.deltas = deltas.to(self.dtype)
        contexts = len(self.weights) if settings.keys == "all" else 1
        self.unedited = torch.zeros(len(groups), contexts, parts.width, dtype=self.dtype)

    def sums(
        self, layer: int, share: float, *, first: bool, progress: Progress = silent
    ) -> tuple[Tensor, Tensor]:
        """(K Kᵀ [d_k, d_k], K Rᵀ [d_k, d]) of `layer` under the present weights, in fp64."""
        width = self.parts.key_width(layer)
        device = self.model.device
        normal = torch.zeros(width, width, dtype=torch.float64, device=device)
        cross = torch.zeros(width, self.parts.width, dtype=torch.float64, device=device)
        done = 0

        def run(chunk: Sequence[int]) -> None:
            nonlocal done
            for keys, residuals in self.columns(chunk, layer, share, first=first):
                normal.add_(keys.T @ keys)
                cross.add_(keys.T @ residuals)
            done += len(chunk)
            progress("keys", done, len(self.groups))

        in_batches(self.order, self._cost, self._budget(), run)
        return normal, cross

    def columns(
        self, chunk: Sequence[int], layer: int, share: float, *, first: bool
    ) -> list[tuple[Tensor, Tensor]]:
        """Weighted (keys [n, d_k], residuals [n, d]) of the groups in `chunk`: averaged (19), or one a context."""
        seen = [self._look(chunk, context, layer) for context in range(len(self.weights))]
        index = torch.tensor(chunk)
        deltas = self.deltas[index.to(self.deltas.device)]
        read_out = seen if self.settings.keys == "all" else seen[:1]
        residuals = []
        for context, (_, hidden, entering) in enumerate(read_out):
            if first:
                self.unedited[index, context] = hidden.to(self.unedited)
            done = hidden - self.unedited[index, context].to(hidden)
            residual = (deltas.to(hidden) - done) * share
            norm = self.parts.norm(layer)
            residuals.append(residual if norm is None else through_norm(norm, entering, residual))
        if self.settings.keys == "average":
            average = sum(weight * keys for weight, (keys, _, _) in zip(self.weights, seen, strict=True))
            assert isinstance(average, Tensor)
            return [(average, residuals[0])]
        return [
            (weight**0.5 * keys, weight**0.5 * residual)
            for weight, (keys, _, _), residual in zip(self.weights, seen, residuals, strict=True)
        ]

    def _look(self, chunk: Sequence[int], context: int, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """(k^l, h^L, what enters the norm after W_out) at the subject's last token, which ends each row."""
        rows = [self.groups[index].contexts[context] for index in chunk]
        stop = self.parts.blocks[self.top]
        batch = prepare(self.model, rows, below=min(map(len, rows)) - 1, stop=stop)
        last = torch.tensor([len(row) - 1 - batch.shared for row in rows], device=self.model.device)
        each = torch.arange(len(rows), device=self.model.device)
        seen: dict[str, Tensor] = {}

        def at_subject(name: str) -> Callable[[Tensor], None]:
            def see(states: Tensor) -> None:
                seen[name] = states.reshape(*batch.ids.shape, -1)[each, last].to(self.dtype)

            return see

        with ExitStack() as stack:
            stack.enter_context(on_input(self.parts.writer(layer), at_subject("key")))
            stack.enter_context(on_output(stop, at_subject("hidden")))
            norm = self.parts.norm(layer)
            if norm is not None:
                stack.enter_context(on_input(norm, at_subject("entering")))
            read(self.model, batch, stop=stop)
        return seen["key"], seen["hidden"], seen.get("entering", seen["hidden"])

    def _cost(self, index: int) -> int:
        """Bytes of one group in a pass: hidden states of its tokens, and their keys and values up to L."""
        widest = max(self.parts.key_width(layer) for layer in range(self.top + 1))
        longest = max(map(len, self.groups[index].contexts))
        per_token = 12 * self.parts.width + 4 * widest + 2 * (self.top + 1) * self.parts.width
        kept = len(self.weights) * (widest + 3 * self.parts.width)
        return (longest * per_token + kept) * self.model.dtype.itemsize

    def _budget(self) -> int:
        return free_bytes(self.model.device)
