"""What a build will take, before it is begun: arithmetic, memory, time.

The floor counts only what the method cannot do without: the tokens from the subject's last one on,
through the blocks above L, forward and backward (activations only), with logits where they are read.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from editing.architectures import Parts
from editing.groups import Group
from editing.memory import free_bytes

TOKENS = {"cpu": 1024, "cuda": 2048}
"""Suffix tokens run at a time: enough to keep the device busy; on a CPU more only leave its caches."""
BATCH_FLOPS = {"cpu": 2e12, "cuda": 1e16}
"""The floor of one batch: δs are stored when they are done, so this is what an interruption may cost."""
SMALLEST = 64
"""Groups that make a batch whatever they cost."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """An estimate: `flops` over `matrix_rate` is the least time it can take."""

    groups: int
    batches: int
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


def group_bytes(parts: Parts, group: Group, layer: int, itemsize: int) -> int:
    """Memory one group holds while it is optimised: keys and values of its own past, states of layer L."""
    above = len(parts.blocks) - layer - 1
    tokens = sum(
        2 * above * term.text.subject + len(term.text.ids) - term.text.subject for term in group.terms
    )
    return int(tokens * parts.width * itemsize)


def step_bytes(model: Any, parts: Parts, layer: int, tokens: int) -> int:
    """Memory one bucket takes for its activations, kept for backward, and for its logits."""
    above = len(parts.blocks) - layer - 1
    activations = above * (12 * parts.width + 8 * parts.key_width(layer))
    logits = 4 * int(model.config.get_text_config().vocab_size) // 2  # about every other token is read
    return int(tokens * (activations * model.dtype.itemsize + 4 * logits))


def batch_share(model: Any, parts: Parts, layer: int, steps: int) -> Callable[[Group], float]:
    """Which part of a batch one group takes up: of the memory, or of the work an interruption may cost."""
    device = model.device.type
    free = free_bytes(model.device)
    room = max(free - step_bytes(model, parts, layer, TOKENS[device]), free // 4)

    def share(group: Group) -> float:
        work = optimisation_flops(parts, [group], layer, steps) / BATCH_FLOPS[device]
        memory = group_bytes(parts, group, layer, model.dtype.itemsize) / room
        return max(memory, min(work, 1 / SMALLEST))

    return share


def preflight(
    model: Any, parts: Parts, missing: Sequence[Group], layers: Sequence[int], steps: int
) -> Preflight:
    """What optimising `missing` and solving for `layers` will take on the model's device."""
    layer = layers[-1]
    shares = list(map(batch_share(model, parts, layer, steps), missing))
    widest = max(parts.key_width(layer) for layer in layers)
    held = sum(group_bytes(parts, group, layer, model.dtype.itemsize) for group in missing)
    return Preflight(
        groups=len(missing),
        batches=math.ceil(sum(shares)),
        flops=optimisation_flops(parts, missing, layer, steps),
        bytes_batch=int(held / max(sum(shares), 1.0))
        + step_bytes(model, parts, layer, TOKENS[model.device.type]),
        bytes_solve=8 * widest * (2 * widest + 2 * parts.width),
    )
