"""Σ k kᵀ of each layer over text: what the second moments (`statistics.py`) are computed from, resumable."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editing.memit import tensor_cache
from editing.memit.gram import add_gram, complete
from editing.model.architectures import Parts
from editing.model.devices import device_of, distinct, input_device, kind_of, picked
from editing.model.hooks import on_input, stopped_after
from editing.model.memory import free_bytes, in_batches
from editing.model.passes import Ids, padded
from editing.progress import Progress, silent

SEGMENT = 256
"""Number of texts between two checks whether to save the sums so far."""
SAVE_EVERY = 60.0
"""Seconds of work that an interruption may cost."""


@dataclass
class Sums:
    """Σ k kᵀ so far."""

    of: dict[int, Tensor] = field(default_factory=dict)
    tokens: int = 0
    rows: int = 0
    """Number of texts, in order of length, that are included."""

    def add(self, other: Sums) -> None:
        """Add the sums over other texts."""
        for layer, total in other.of.items():
            self.of[layer] = self.of[layer] + total if layer in self.of else total
        self.tokens += other.tokens
        self.rows += other.rows

    def save(self, path: Path) -> None:
        tensors = {str(layer): total.cpu() for layer, total in self.of.items()}
        tensor_cache.store(path, tensors, {"tokens": str(self.tokens), "rows": str(self.rows)})

    @classmethod
    def resumed(cls, path: Path | None, parts: Parts) -> Sums:
        """The sums that an interrupted pass saved in `path`, each on its layer's device, or empty ones."""
        sums = (None if path is None else cls.read(path)) or cls()
        of = {layer: total.to(device_of(parts.blocks[layer])) for layer, total in sums.of.items()}
        return cls(of, sums.tokens, sums.rows)

    @classmethod
    def read(cls, path: Path) -> Sums | None:
        """The sums saved in `path`, on the CPU; None if there are none, or they are damaged."""
        found = tensor_cache.load(path)
        if found is None:
            return None
        tensors, metadata = found
        of = {int(name): tensor for name, tensor in tensors.items()}
        return cls(of, int(metadata["tokens"]), int(metadata["rows"]))


@torch.no_grad()
def accumulate(
    model: Any,
    parts: Parts,
    layers: Sequence[int],
    rows: Sequence[Ids],
    *,
    partial: Path | None = None,
    progress: Progress = silent,
) -> Sums:
    """Σ k kᵀ of each layer over all tokens of `rows`; the sums so far are saved in `partial` periodically."""
    sums = Sums.resumed(partial, parts)
    ordered = sorted(rows, key=by_length)
    saved = time.monotonic()
    for start in range(sums.rows, len(ordered), SEGMENT):
        segment = ordered[start : start + SEGMENT]
        in_batches(
            segment,
            lambda row: len(row) * _bytes_per_token(model, parts, layers),
            _budget(model, parts, layers),
            lambda batch: _add(model, parts, layers, batch, sums),
        )
        progress("statistics", sums.rows, len(ordered))
        if partial is not None and sums.rows < len(ordered) and time.monotonic() - saved > SAVE_EVERY:
            sums.save(partial)
            saved = time.monotonic()
    for total in sums.of.values():
        complete(total)
    return sums


def _add(model: Any, parts: Parts, layers: Sequence[int], batch: Sequence[Ids], sums: Sums) -> None:
    ids, lengths = padded(batch, input_device(model))
    real = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).reshape(-1)
    seen: dict[int, Tensor] = {}
    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(on_input(parts.writer(layer), _keep(seen, layer)))
        stack.enter_context(stopped_after(parts.blocks[max(layers)]))
        model.base_model(input_ids=ids, use_cache=False)
    for layer in layers:  # only now: a batch that ran out of memory has added nothing
        dtype = torch.promote_types(model.dtype, torch.float32)
        keys = picked(seen[layer].reshape(len(real), -1), real).to(dtype)
        if layer not in sums.of:
            sums.of[layer] = keys.new_zeros(keys.shape[1], keys.shape[1])
        add_gram(sums.of[layer], keys)
    sums.tokens += int(real.sum())
    sums.rows += len(batch)


def by_length(row: Ids) -> tuple[int, Ids]:
    return len(row), row


def _bytes_per_token(model: Any, parts: Parts, layers: Sequence[int]) -> int:
    widest = max(parts.key_width(layer) for layer in layers)
    return int((24 * parts.width + (4 + len(layers)) * widest) * model.dtype.itemsize)


def _budget(model: Any, parts: Parts, layers: Sequence[int]) -> int:
    used = distinct(parts.blocks[: max(layers) + 1])
    free = min(map(free_bytes, used))
    if any(kind_of(device) == "cpu" for device in used):
        return min(free, 4096 * _bytes_per_token(model, parts, layers))
    return free


def _keep(seen: dict[int, Tensor], layer: int) -> Callable[[Tensor], None]:
    def see(keys: Tensor) -> None:
        seen[layer] = keys

    return see
