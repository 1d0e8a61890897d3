"""Passing cached keys and values to a model under the argument name that its transformers release uses.

Transformers 5.24 renamed the argument `past_key_values` to `cache` and removes the old name in 5.40; model
classes of other packages may still use the old one.  The name is read from the class's signature, so that neither
older nor newer releases warn or fail.
"""

from __future__ import annotations

import inspect
from functools import cache as remembered
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicLayer


class FixedLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer that every pass attends to and none extends."""

    def __init__(self, length: int, *pasts: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.length, self.pasts = length, pasts
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        count = len(key_states)
        keys = [keys.expand(count, -1, -1, -1) for keys, _ in self.pasts]
        values = [values.expand(count, -1, -1, -1) for _, values in self.pasts]
        return torch.cat([*keys, key_states], -2), torch.cat([*values, value_states], -2)

    def get_seq_length(self) -> int:
        return self.length


def attending_to(model: Any, cache: Any) -> dict[str, Any]:
    """Keyword arguments that make a forward pass of `model` attend to `cache` and extend it."""
    return {"cache" if takes(model, "cache") else "past_key_values": cache, "use_cache": True}


def takes(model: Any, argument: str) -> bool:
    """Whether the forward pass of `model` names this argument; of a compiled model, that of the model inside."""
    # The wrapper of torch.compile takes whatever it is given.
    kind: type = type(getattr(model, "_orig_mod", model))
    return argument in _arguments(kind)


@remembered
def _arguments(kind: type) -> frozenset[str]:
    return frozenset(inspect.signature(kind.forward).parameters)  # type: ignore[attr-defined]
