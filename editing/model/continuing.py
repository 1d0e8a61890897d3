"""Continuing prompts token by token: from cached keys and values, or by running the whole text every time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from editing.model.caching import attending_to, takes
from editing.model.devices import input_device, picked
from editing.model.passes import Ids, padded


def logits_from(model: Any, ids: Tensor, first: int, **more: Any) -> Tensor:
    """Logits [B, T − first, V] of the positions from `first` on; the others are skipped if the class allows it."""
    kept = ids.shape[1] - first
    if takes(model, "logits_to_keep"):
        logits: Tensor = model(ids, **more, logits_to_keep=kept).logits
        return logits
    whole: Tensor = model(ids, **more).logits
    return whole[:, -kept:]


class FromCache:
    """A batch in progress whose keys and values are cached."""

    def __init__(self, model: Any, prompts: Sequence[Ids]) -> None:
        self._model = model
        self._cache = DynamicCache(config=model.config)
        ids, self._lengths = padded(prompts, input_device(model))
        columns = torch.arange(ids.shape[1], device=ids.device)
        self._mask = (columns < self._lengths[:, None]).long()  # (B, T)
        first = int(self._lengths.min()) - 1
        logits = logits_from(model, ids, first, attention_mask=self._mask, **attending_to(model, self._cache))
        self.logits: Tensor = _at(logits, self._lengths - 1 - first)

    def append(self, tokens: Tensor) -> None:
        """Append `tokens` (B,), one per row."""
        tokens = tokens.to(self._mask.device)
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
        self.logits = logits_from(
            self._model,
            tokens[:, None],
            0,
            attention_mask=self._mask,
            position_ids=self._lengths[:, None],
            **attending_to(self._model, self._cache),
        )[:, -1]
        self._lengths = self._lengths + 1

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with `rows` only."""
        kept = torch.tensor(rows, device=self._mask.device)
        for layer in self._cache.layers:
            if layer.is_initialized:
                layer.batch_select_indices(kept.to(layer.keys.device))
        self._mask, self._lengths = self._mask[kept], self._lengths[kept]
        self.logits = picked(self.logits, kept)


class FromWhole:
    """A batch in progress that is run from its first token every time."""

    def __init__(self, model: Any, prompts: Sequence[Ids]) -> None:
        self._model = model
        self._rows = [list(prompt) for prompt in prompts]
        self.logits: Tensor = self._read()

    def append(self, tokens: Tensor) -> None:
        """Append `tokens` (B,), one per row."""
        for row, token in zip(self._rows, tokens.tolist(), strict=True):
            row.append(token)
        self.logits = self._read()

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with `rows` only."""
        self._rows = [self._rows[row] for row in rows]
        self.logits = picked(self.logits, torch.tensor(rows))

    def _read(self) -> Tensor:
        ids, lengths = padded(self._rows, input_device(self._model))
        first = int(lengths.min()) - 1
        logits = logits_from(self._model, ids, first, use_cache=False)
        return _at(logits, lengths - 1 - first)


def _at(logits: Tensor, positions: Tensor) -> Tensor:
    """The logits [B, V] of each row at its own position."""
    return logits[torch.arange(len(logits), device=logits.device), positions.to(logits.device)]
