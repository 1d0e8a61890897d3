"""Testing whether a model can be continued from keys and values alone, by running it.

The engine runs the common beginning of texts once, and afterwards only the rest.  That is correct if a token
depends on earlier ones only through their keys and values.  State-space layers, layers that share keys with others,
and positions that are not counted from 0 break it; such models are run on whole sequences.
"""

from __future__ import annotations

import weakref
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache

from editing.model.architectures import TABLE, Parts, locate_parts
from editing.model.caching import FixedLayer, attending_to
from editing.model.continuing import FromCache
from editing.model.devices import input_device
from editing.model.hooks import frozen, on_output, returns_tuple, starting_with
from editing.model.passes import prepare, read

LENGTH = 9
"""Length of a probe in tokens."""
SPLIT = 4
"""Index at which its suffix begins."""
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
"""Largest deviation, relative to the largest value; models compute parts in fp32 whatever their dtype."""
ROUGH = 6e-2
"""The same in 16 bits."""


@dataclass(frozen=True, slots=True)
class PrefixCacheTest:
    """Whether suffixes may be run alone, and if not, why."""

    exact: bool
    deviation: float
    """Largest difference, relative to the largest value."""
    reason: str = ""


_found: weakref.WeakKeyDictionary[nn.Module, PrefixCacheTest] = weakref.WeakKeyDictionary()


def runs_suffixes(model: Any) -> bool:
    """Whether `model` computes the same from cached keys and values as from whole sequences."""
    # Families of the table are verified by the tests' fp64 oracle.
    return model.config.model_type in TABLE or prefix_cache(model).exact


def prefix_cache(model: Any, parts: Parts | None = None) -> PrefixCacheTest:
    """The result of a probe of a few tokens; each model is tested once."""
    if model not in _found:
        _found[model] = _probe(model, parts or locate_parts(model))
    return _found[model]


def tolerance(dtype: torch.dtype) -> float:
    """Allowed difference between two ways of computing the same, relative to the largest value."""
    return TOLERANCE.get(dtype, ROUGH)


def probe_ids(model: Any, length: int = LENGTH) -> Tensor:
    """[1, length] different tokens, spread over the vocabulary."""
    size = int(model.get_input_embeddings().weight.shape[0])
    ids = torch.linspace(size // 8, size - 1 - size // 8, length).long()
    return ids[None].to(input_device(model))


def deviation(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest entry; infinite if anything is not finite."""
    if found.shape != expected.shape:
        return float("inf")
    scale = expected.double().abs().max().clamp(min=1e-30)
    gap = (found.double() - expected.double()).abs().max() / scale
    return float(gap) if bool(torch.isfinite(gap)) else float("inf")


@torch.no_grad()
def _probe(model: Any, parts: Parts) -> PrefixCacheTest:
    worst = 0.0
    with frozen(model):
        ids = probe_ids(model)
        states: list[Tensor] = []
        with on_output(parts.blocks[-1], states.append):
            whole = model(ids, use_cache=False).logits[0]
        ways = (
            ("a batch whose rows begin alike", _shared, states[0][0]),
            ("a suffix", _suffix, whole),
            ("a continued prompt", _continued, whole),
        )
        for name, way, expected in ways:
            try:
                found = way(model, parts, ids)
            except Exception as error:  # noqa: BLE001  (any model's code: what it cannot do is the finding)
                reason = f"{name} cannot be run from keys and values ({type(error).__name__}: {error})"
                return PrefixCacheTest(False, float("inf"), reason[:300])
            gap = deviation(found, expected[len(expected) - len(found) :])
            worst = max(worst, gap)
            if worst > tolerance(model.dtype):
                return PrefixCacheTest(
                    False, worst, f"{name}, run from keys and values, differs by {gap:.1g}"
                )
    return PrefixCacheTest(True, worst)


def _shared(model: Any, parts: Parts, ids: Tensor) -> Tensor:
    """The last block's output for the own tokens of a row, in a batch with a shorter one."""
    row = tuple(ids[0].tolist())
    batch = prepare(model, [row, (*row[:SPLIT], row[0])], below=SPLIT)
    states: list[Tensor] = []
    with on_output(parts.blocks[-1], states.append):
        read(model, batch)
    return states[0][0]


def _suffix(model: Any, parts: Parts, ids: Tensor) -> Tensor:
    """Logits of the last tokens, computed from the states that leave a layer in the middle."""
    layer = max(0, len(parts.blocks) // 2 - 1)
    cache = DynamicCache()
    states: list[Tensor] = []
    with on_output(parts.blocks[layer], states.append):
        model(ids, **attending_to(model, cache))
    below, count = parts.blocks[: layer + 1], len(parts.blocks)
    above = [
        FixedLayer(SPLIT, (kept.keys[:, :, :SPLIT], kept.values[:, :, :SPLIT]))
        for kept in cache.layers[layer + 1 : count]
    ]
    fixed = Cache(layers=[*(FixedLayer(SPLIT) for _ in below), *above])
    with ExitStack() as stack:
        tuples = returns_tuple(model, below[-1])
        stack.enter_context(starting_with(states[0][:, SPLIT:], below, tuples=tuples))
        logits: Tensor = model(
            input_ids=ids[:, SPLIT:],
            attention_mask=torch.ones_like(ids),
            position_ids=torch.arange(SPLIT, ids.shape[1], device=ids.device)[None],
            **attending_to(model, fixed),
        ).logits
    return logits[0]


def _continued(model: Any, parts: Parts, ids: Tensor) -> Tensor:
    """Logits of the last token, appended to a prompt that is padded next to a longer one."""
    row = tuple(ids[0].tolist())
    batch = FromCache(model, [row[:-1], row])
    batch.append(ids[0, [-1, 0]])
    return batch.logits[:1]
