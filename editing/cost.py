"""What a build will take, before it is begun: arithmetic, memory, time.

The floor counts only what the method cannot do without: the tokens from the subject's last one on,
through the blocks above L, forward and backward (activations only), with logits where they are read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from editing.architectures import Parts
from editing.groups import Group
from editing.memory import free_bytes


@dataclass(frozen=True, slots=True)
class Preflight:
    """An estimate: `flops` over `matrix_rate` is the least time it can take."""

    groups: int
    batch: int
    """How many groups of the largest kind fit into memory at once."""
    flops: float
    bytes_batch: int
    bytes_solve: int


def block_flops(block: nn.Module) -> int:
    """FLOPs of one token through the matrices of one block: 2 a weight."""
    return sum(2 * weight.numel() for weight in block.parameters() if weight.dim() == 2)


def optimisation_flops(parts: Parts, groups: Sequence[Group], layer: int, steps: int) -> float:
    """The floor of the optimisation of `groups`: `steps` − 1 updates, if none ends early."""
    above = sum(block_flops(block) for block in parts.blocks[layer + 1 :])
    head = sum(2 * weight.numel() for weight in parts.head.parameters() if weight.dim() == 2)
    tokens = reads = 0
    for group in groups:
        for term in group.terms:
            tokens += len(term.text.ids) - term.text.subject - (0 if term.kl else 1)
            reads += 1 if term.kl else len(term.text.ids) - term.text.target
    return 2.0 * (steps - 1) * (tokens * above + reads * head)


def matrix_rate(
    device: torch.device,
    dtype: torch.dtype,
    *,
    size: int = 1024,
    seconds: float = 0.2,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Measured FLOP/s of square matrix products: the best of those that fit into `seconds`."""
    a = torch.randn(size, size, device=device).to(dtype)
    best, end = 0.0, clock() + seconds
    while best == 0.0 or clock() < end:
        start = clock()
        torch.mm(a, a)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = max(best, 2.0 * size**3 / (clock() - start))
    return best


def group_extent(group: Group) -> tuple[int, int]:
    """(most tokens from the subject's last one on, most tokens before it) of a group's texts."""
    suffix = max(len(term.text.ids) - term.text.subject for term in group.terms)
    return suffix, max(term.text.subject for term in group.terms)


def group_bytes(model: Any, parts: Parts, group: Group, layer: int) -> int:
    """Memory one group takes in an optimisation: activations kept for backward, keys and values, logits."""
    suffix, before = group_extent(group)
    above = len(parts.blocks) - layer - 1
    width, widest = parts.width, parts.key_width(layer)
    activations = suffix * above * (12 * width + 8 * widest)
    states = 4 * (before + suffix) * above * width
    once = (before + suffix) * (2 * len(parts.blocks) * width + 8 * widest)
    read = sum(1 if term.kl else len(term.text.ids) - term.text.target for term in group.terms)
    logits = 4 * read * int(model.config.get_text_config().vocab_size)
    return int((len(group.terms) * (activations + states + once) + logits) * max(model.dtype.itemsize, 4))


def preflight(
    model: Any, parts: Parts, missing: Sequence[Group], layers: Sequence[int], steps: int
) -> Preflight:
    """What optimising `missing` and solving for `layers` will take on the model's device."""
    free = free_bytes(model.device)
    largest = max((group_bytes(model, parts, group, layers[-1]) for group in missing), default=0)
    widest = max(parts.key_width(layer) for layer in layers)
    return Preflight(
        groups=len(missing),
        batch=max(1, free // largest) if largest else 0,
        flops=optimisation_flops(parts, missing, layers[-1], steps),
        bytes_batch=min(largest * len(missing), max(largest, free)),
        bytes_solve=8 * widest * (2 * widest + 2 * parts.width),
    )
