"""Forward passes over many short texts: padded, with their common first tokens run once.

The texts of all edits share their context prefix (and BOS), so a batch sorted by context runs those tokens for
one row and lets the others attend to their keys and values.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from editing.model.caching import FixedLayer, attending_to
from editing.model.devices import input_device
from editing.model.hooks import starting_with, stopped_after

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Start:
    """Where passes over a batch start: above the blocks `below`, with states kept from an earlier pass."""

    below: Sequence[nn.Module] = ()
    tuples: bool = False
    """Whether blocks of the model return tuples."""
    shared: Tensor | None = None
    """[1, S, d] states of the shared tokens there."""
    own: Tensor | None = None
    """[B, T, d] states of the own tokens there."""


BEGINNING = Start()
"""The start at the embeddings."""


@dataclass(frozen=True)
class Rows:
    """A padded batch, without the tokens that all its rows begin with."""

    ids: Tensor
    """[B, T] own tokens, padded on the right."""
    positions: Tensor
    """[B, T] positions of the own tokens; padding repeats the last one."""
    shared: int
    """S, the number of tokens run once for all rows."""
    cache: Any
    """Keys and values of the shared tokens, and of the own ones once run; None if none are kept."""


def common_length(rows: Sequence[Ids]) -> int:
    """Number of first tokens that all `rows` have in common (found by comparing the smallest and largest row)."""
    low, high = min(rows), max(rows)
    for index, (a, b) in enumerate(zip(low, high, strict=False)):
        if a != b:
            return index
    return min(len(low), len(high))


def padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """(ids [B, T], lengths [B]) of `rows`, padded on the right with token 0.

    Padding on the right needs no mask: no real token attends to what comes after it.
    """
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
    return ids.to(device), lengths.to(device)


@torch.no_grad()
def prepare(
    model: Any,
    rows: Sequence[Ids],
    *,
    below: int,
    stop: nn.Module | None = None,
    start: Start = BEGINNING,
    whole: bool = False,
) -> Rows:
    """A batch of `rows`, its common tokens (fewer than `below`) already run, from `start` up to block `stop`.

    `whole`: nothing is run in advance, for models that cannot continue from keys and values (`prefix_cache`).

    `below` is at most the smallest index that the caller reads, so that no such index lies among the shared
    tokens.
    """
    device = input_device(model)
    shared = min(common_length(rows), below, min(map(len, rows)) - 1)
    if len(rows) == 1 or whole:
        shared = 0
    cache = None if whole else DynamicCache()
    if shared:
        _read_shared(model, rows[0][:shared], cache, len(rows), stop, start)
    ids, lengths = padded([row[shared:] for row in rows], device)
    positions = shared + torch.arange(ids.shape[1], device=device).expand_as(ids)
    return Rows(ids, positions.minimum(shared + lengths[:, None] - 1), shared, cache)


def _read_shared(model: Any, ids: Ids, cache: Any, count: int, stop: nn.Module | None, start: Start) -> None:
    tokens = torch.tensor([ids], device=input_device(model))
    with ExitStack() as stack:
        if start.shared is not None:
            stack.enter_context(starting_with(start.shared, start.below, tuples=start.tuples))
        if stop is not None:
            stack.enter_context(stopped_after(stop))
        model.base_model(input_ids=tokens, **attending_to(model.base_model, cache))
    for index, layer in enumerate(cache.layers):
        if layer.is_initialized:
            layer.keys = layer.keys.expand(count, *layer.keys.shape[1:])
            layer.values = layer.values.expand(count, *layer.values.shape[1:])
        else:  # left out, but masks are made from what its cache says of the length
            cache.layers[index] = FixedLayer(len(ids))


@torch.no_grad()
def read(model: Any, rows: Rows, *, stop: nn.Module | None = None, start: Start = BEGINNING) -> None:
    """Run the own tokens of `rows` through the blocks (not the head), from `start` up to `stop`.

    Activations are read by hooks.
    """
    with ExitStack() as stack:
        if start.own is not None:
            stack.enter_context(starting_with(start.own, start.below, tuples=start.tuples))
        if stop is not None:
            stack.enter_context(stopped_after(stop))
        if rows.cache is None:
            model.base_model(input_ids=rows.ids, use_cache=False)
            return
        model.base_model(
            input_ids=rows.ids,
            attention_mask=rows.ids.new_ones(len(rows.ids), rows.shared + rows.ids.shape[1]),
            position_ids=rows.positions,
            **attending_to(model.base_model, rows.cache),
        )
