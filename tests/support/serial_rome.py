"""ROME read plainly from its paper: one fact at a time, on the weights that the fact before left."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tests.support.serial import Fact, Hyper, Serial


def rome(
    serial: Serial, facts: Sequence[Fact], prefixes: Sequence[str], hyper: Hyper, layer: int, moment: Tensor
) -> None:
    """Edit `facts` into W_out of `layer` in place, each with Λ (C⁻¹ k)ᵀ."""
    inverse = torch.linalg.inv(moment.double())
    shares = [0.5] + [0.5 / len(prefixes)] * len(prefixes)
    for fact in facts:
        kept = [(f"{fact.subject} is a", len(fact.subject), True)]
        deltas, _ = serial.trajectory([fact], kept, prefixes, hyper, layer)
        texts = serial.texts(fact, prefixes)
        key = sum(w * serial.key(ids, at, layer) for w, (ids, at, _) in zip(shares, texts, strict=True))
        value = deltas[-1] / (key @ inverse @ key)  # Λ
        update = torch.outer(value, inverse @ key)
        weight = serial.writers[layer].weight
        weight.data += update if weight.shape == update.shape else update.T
