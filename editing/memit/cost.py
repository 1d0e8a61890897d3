"""Estimating a build before it begins: arithmetic, memory, time.

The floor counts only the work that the method requires: the tokens from the subject's last one on,
through the blocks above L, forward and backward (activations only), with logits where they are read.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from editing.memit.blocked import exceeds
from editing.memit.gram import gram_flops
from editing.memit.groups import Group
from editing.memit.panels import HELD, panel_width
from editing.memit.solve import direct_flops, keeps_factor, prefers_woodbury, woodbury_flops
from editing.model.architectures import Parts
from editing.model.devices import device_of, distinct, kind_of
from editing.model.memory import free_bytes, pass_bytes, solve_bytes
from editing.preflight import Preflight, existing

CPU_TOKENS = 1024
"""Suffix tokens in one pass on a CPU: enough to keep it busy; more would exceed its caches."""
FEWEST_TOKENS, MOST_TOKENS = 256, 8192
"""On a GPU: at 2,048 tokens, an H100 spends a quarter of the time on arithmetic (docs/engine.md)."""
BATCH_FLOPS = {"cpu": 2e12, "cuda": 1e16}
"""Work of one batch in FLOPs: δs are stored when a batch is done, so an interruption may cost this much."""
SMALLEST = 64
"""Smallest number of groups in a batch, whatever they cost."""

ASSUMED = {"targets": 0.2, "statistics": 0.6, "keys": 0.2}
"""Assumed share of the measured matrix rate for each phase, until a build has measured it."""
HEADER, BLOCK = 512, 4096
"""Bytes of the header of a δ's file, and of a file-system block."""
CALL = {"cpu": 4e-4, "cuda": 4e-5}
"""Seconds of overhead for one call of a block, which dominates for small models."""


def block_flops(block: nn.Module) -> int:
    """FLOPs of one token through the matrices of one block: 2 per weight."""
    return sum(2 * weight.numel() for weight in block.parameters() if weight.dim() == 2)


def optimisation_flops(parts: Parts, groups: Sequence[Group], layer: int, steps: int, bare: int = 0) -> float:
    """The floor of optimising `groups`: `steps` − 1 updates, if none ends early; `bare` of them without prefixes."""
    above = sum(block_flops(block) for block in parts.blocks[layer + 1 :])
    head = sum(2 * weight.numel() for weight in parts.head.parameters() if weight.dim() == 2)
    tokens = reads = 0
    for group in groups:
        for term in group.terms:
            times = steps - 1 - (bare if term.prefixed else 0)
            tokens += times * (len(term.text.ids) - term.text.subject - (0 if term.kl else 1))
            reads += times * (1 if term.kl else len(term.text.ids) - term.text.target)
    return 2.0 * (tokens * above + reads * head)


def matrix_rate(
    device: torch.device,
    dtype: torch.dtype,
    *,
    size: int = 1024,
    seconds: float = 0.2,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Measured FLOP/s of square matrix products: the best of those measured within `seconds`."""
    # Not the process's own random numbers, which stay as they are; nor the device's, which may have none.
    numbers = torch.Generator().manual_seed(0)
    a = torch.randn(size, size, generator=numbers).to(device, dtype)
    best, end = 0.0, clock() + seconds
    while best == 0.0 or clock() < end:
        start = clock()
        torch.mm(a, a)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = max(best, 2.0 * size**3 / (clock() - start))
    return best


@cache
def machine_rate(device: torch.device, dtype: torch.dtype) -> float:
    """`matrix_rate` as this process measured it first: a worker's later builds, and those of a test, do not wait."""
    return matrix_rate(device, dtype)


def part_on(device: torch.device, blocks: Sequence[nn.Module]) -> float:
    """The share of `blocks` that is on `device`."""
    return sum(device_of(block) == device for block in blocks) / max(len(blocks), 1)


def group_bytes(parts: Parts, group: Group, layer: int, itemsize: int) -> tuple[int, int]:
    """Memory of one group during its optimisation: (states of layer L, keys and values of its own past above L)."""
    above = len(parts.blocks) - layer - 1
    states = sum(len(term.text.ids) - term.text.subject for term in group.terms)
    past = sum(2 * above * term.text.subject for term in group.terms)
    return int(states * parts.width * itemsize), int(past * parts.width * itemsize)


def step_bytes(model: Any, parts: Parts, layer: int, tokens: int) -> int:
    """Memory of one bucket for its activations, kept for the backward pass, and for its logits."""
    above = len(parts.blocks) - layer - 1
    activations = above * (12 * parts.width + 8 * parts.key_width(layer))
    logits = 4 * int(model.config.get_text_config().vocab_size) // 2  # about every other token is read
    return int(tokens * (activations * model.dtype.itemsize + 4 * logits))


def step_tokens(model: Any, parts: Parts, layer: int) -> int:
    """Suffix tokens in one pass: on a GPU, the largest power of two whose activations take no more than a solve may.

    It depends on what the devices have, not on what is free, so that equal builds have equal batches.
    """
    above = parts.blocks[layer + 1 :]
    each = step_bytes(model, parts, layer, 1)
    room = MOST_TOKENS
    for device in distinct((parts.blocks[layer], *above)):
        if kind_of(device) == "cpu":
            return CPU_TOKENS
        part = each * part_on(device, above)
        room = min(room, int(solve_bytes(device) / part)) if part else room
    return max(FEWEST_TOKENS, 1 << max(room, 1).bit_length() - 1)


def batch_share(model: Any, parts: Parts, layer: int, steps: int, bare: int = 0) -> Callable[[Group], float]:
    """The share of a batch that one group uses: of the memory, or of the work that an interruption may cost."""
    top = device_of(parts.blocks[layer])
    kind, above = kind_of(top), parts.blocks[layer + 1 :]
    step = step_bytes(model, parts, layer, step_tokens(model, parts, layer))
    # Device → the memory that it has for a batch, and its part of the layers above L.
    room: dict[torch.device, tuple[int, float]] = {}
    for device in distinct((parts.blocks[layer], *above)):
        part, free = part_on(device, above), free_bytes(device)
        room[device] = max(free - int(step * part), free // 4), part

    def share(group: Group) -> float:
        work = optimisation_flops(parts, [group], layer, steps, bare) / BATCH_FLOPS[kind]
        states, past = group_bytes(parts, group, layer, model.dtype.itemsize)
        memory = max(
            (past * part + (states if device == top else 0)) / free for device, (free, part) in room.items()
        )
        return max(memory, min(work, 1 / SMALLEST))

    return share


@dataclass(frozen=True)
class Work:
    """What a build has to do, counted."""

    model: Any
    parts: Parts
    layers: tuple[int, ...]
    steps: int
    groups: Sequence[Group]
    """All groups that are spread, preserved ones included."""
    missing: Sequence[Group]
    """Groups to be optimised."""
    columns: int
    """Number of key columns of a layer."""
    statistics: int
    """Number of layers without cached second moments."""
    tokens: int
    """Tokens of the statistics' sample, if the statistics must be computed."""
    solve_budget: int | None = None
    """Bytes beyond which a layer's solve is blocked; None: half of the memory of the layer's device."""
    bare_steps: int = 0
    """Evaluations without context prefixes, among those of `steps`."""

    def budget(self, layer: int) -> int:
        """Bytes that the solve of `layer` may take."""
        device = device_of(self.parts.blocks[layer])
        return solve_bytes(device) if self.solve_budget is None else self.solve_budget

    def is_blocked(self, layer: int) -> bool:
        """Whether least squares for `layer` are solved by panels (`blocked.py`)."""
        return exceeds(self.parts.key_width(layer), self.parts.width, self.budget(layer))

    @property
    def blocked(self) -> int:
        """Number of layers that are solved by panels."""
        return sum(map(self.is_blocked, self.layers))

    @property
    def device(self) -> torch.device:
        """That of layer L, where δ is."""
        return device_of(self.parts.blocks[self.layers[-1]])

    @property
    def widest(self) -> int:
        """The largest d_k of the edited layers."""
        return max(self.parts.key_width(layer) for layer in self.layers)

    @property
    def cut(self) -> int:
        """Tokens of all contexts, each through the subject's last one: what a pass over the keys reads."""
        return sum(len(ids) for group in self.groups for ids in group.contexts)

    def floor(self) -> float:
        """FLOPs that the optimisation requires."""
        return optimisation_flops(self.parts, self.missing, self.layers[-1], self.steps, self.bare_steps)

    def flops(self) -> dict[str, float]:
        """FLOPs by phase; `targets` holds the floor, and one pass of every text through all blocks."""
        blocks = [block_flops(block) for block in self.parts.blocks]
        top = self.layers[-1]
        read = sum(len(term.text.ids) for group in self.missing for term in group.terms)
        width = self.widest
        below = sum(blocks[: top + 1])
        resumed = sum(sum(blocks[layer : top + 1]) for layer in self.layers[:-1])
        size = width, self.parts.width, self.columns
        solves = woodbury_flops(*size) if prefers_woodbury(*size) else direct_flops(*size)
        return {
            "targets": self.floor() + float(read * sum(blocks)),
            "statistics": self.tokens * below + self.statistics * gram_flops(width, self.tokens)
            if self.statistics
            else 0.0,
            "keys": self.cut * (below + resumed) + len(self.layers) * solves,
        }

    def calls(self) -> dict[str, float]:
        """Seconds by phase that do not depend on the size of the matrices."""
        device = kind_of(self.device)
        above = len(self.parts.blocks) - self.layers[-1] - 1
        suffix = sum(len(t.text.ids) - t.text.subject for group in self.missing for t in group.terms)
        contexts = len(self.groups[0].contexts) if self.groups else 0
        tokens = step_tokens(self.model, self.parts, self.layers[-1])
        buckets = suffix / tokens + (contexts + 1 if self.missing else 0)
        forward = len(self.layers) * contexts * (self.layers[-1] + 1)
        calls = {"targets": 3 * self.steps * buckets * above, "keys": forward, "statistics": 0.0}
        return {phase: count * CALL[device] for phase, count in calls.items()}

    def memory(self) -> dict[str, int]:
        """Bytes by phase, in addition to the model itself."""
        width, d, item = self.widest, self.parts.width, self.model.dtype.itemsize
        layer = self.layers[-1]
        share = batch_share(self.model, self.parts, layer, self.steps, self.bare_steps)
        held = [sum(group_bytes(self.parts, group, layer, item)) for group in self.missing]
        batches = max(sum(map(share, self.missing)), 1.0)
        batch = int(sum(held) / batches) + step_bytes(self.model, self.parts, layer, self._step())
        left = min(self.cut * d * item, pass_bytes(self.device) // 2) if len(self.layers) > 1 else 0
        # W and its update in fp64, W as it was, besides the matrices of the solve.
        solve = self._matrices() + 24 * width * d + 2 * len(self.layers) * width * d * item + left
        sums = (self.statistics + 2) * 4 * width**2
        reading = min(self.tokens, 4096) * (24 * d + (4 + self.statistics) * width) * item
        return {
            "batch": batch if self.missing else 0,
            "statistics": sums + reading if self.statistics else 0,
            "solve": solve,
        }

    def _matrices(self) -> int:
        """Bytes of the d_k × d_k matrices of a solve, or of their panels, and of the keys that it holds."""
        width = self.widest
        if not self.blocked:
            # Σ k kᵀ in fp64, the moments in fp32 and fp64, the factor.
            return 28 * width**2 + min(self.columns, width) * width * 8 * 3
        # K in fp64 and K times a factor; as many columns as d_k or more are in a file, and K Rᵀ is held.
        keys = 16 * self.columns * width if self.columns < width else 8 * width * self.parts.width
        return self._panels() + keys

    def _panels(self) -> int:
        """Bytes of the panels of a blocked solve, which are in the main memory; 0 if none is blocked."""
        blocked = filter(self.is_blocked, self.layers)
        sizes = ((self.parts.key_width(layer), self.budget(layer) / 2) for layer in blocked)
        return max((8 * HELD * size * panel_width(size, budget) for size, budget in sizes), default=0)

    def memory_by_device(self) -> dict[str, int]:
        """Bytes at the peak by device, with the part of the model that it has; one entry if it is not spread."""
        phases, top = self.memory(), self.layers[-1]
        below, above = self.parts.blocks[: top + 1], self.parts.blocks[top + 1 :]
        solving = {device_of(self.parts.blocks[layer]) for layer in self.layers}
        found = {}
        for device in distinct(self.model.modules()):
            weights = [p for p in self.model.parameters() if p.device == device]
            work = (
                int(phases["batch"] * part_on(device, above)),
                int(phases["statistics"] * part_on(device, below)),
                phases["solve"] - (0 if device.type == "cpu" else self._panels()) if device in solving else 0,
            )
            found[str(device)] = sum(p.numel() * p.element_size() for p in weights) + max(work)
        return found

    def disk(self) -> tuple[int, int]:
        """Bytes written to (the cache, the result)."""
        width, d = self.widest, self.parts.width
        item = max(self.model.dtype.itemsize, 4)
        delta = -(-(d * item + HEADER) // BLOCK) * BLOCK
        moment = 2 * item * width**2  # twice: sums that an interruption would leave are removed afterwards
        kept = 8 * width**2 if keeps_factor(width, d, self.columns, kind_of(self.device)) else 0
        passing = 0
        if self.blocked:  # no factor is left, but there must be room for a layer's, and perhaps for the keys
            kept, passing = 0, 4 * width**2 + (8 * self.columns * width if self.columns >= width else 0)
        editable = sum(self.parts.key_width(layer) for layer in self.parts.editable) * d
        cache = len(self.missing) * delta + self.statistics * (moment + kept) + passing
        return cache, editable * self.model.dtype.itemsize

    def _step(self) -> int:
        """Suffix tokens of the largest step."""
        suffix = sum(len(t.text.ids) - t.text.subject for group in self.missing for t in group.terms)
        return min(step_tokens(self.model, self.parts, self.layers[-1]), suffix)


def preflight(work: Work, known: Mapping[str, float], cache: Path) -> Preflight:
    """Estimate the cost of `work` on the model's device, including what it stores in `cache`.

    `known` are the rates that earlier builds reached, by phase.
    """
    bytes_cache, bytes_result = work.disk()
    flops, calls, memory = work.flops(), work.calls(), work.memory()
    places = work.memory_by_device()
    assumed = [phase for phase, count in flops.items() if count and phase not in known]
    rate = machine_rate(work.device, work.model.dtype) if assumed else 0.0

    def seconds(phase: str) -> float:
        if not flops[phase]:
            return 0.0
        if phase in known:
            return flops[phase] / known[phase]
        return flops[phase] / (rate * ASSUMED[phase]) + calls[phase]

    return Preflight(
        groups=len(work.groups),
        optimised=len(work.missing),
        statistics=work.statistics,
        floor_flops=work.floor(),
        bytes_model=sum(p.numel() * p.element_size() for p in work.model.parameters()),
        bytes_batch=memory["batch"],
        bytes_statistics=memory["statistics"],
        bytes_solve=memory["solve"],
        seconds_targets=seconds("targets"),
        seconds_statistics=seconds("statistics"),
        seconds_keys=seconds("keys"),
        rate=rate * ASSUMED["targets"],
        assumed=len(assumed),
        bytes_cache=bytes_cache,
        bytes_result=bytes_result,
        bytes_free=shutil.disk_usage(existing(cache)).free,
        devices=len(places),
        layers=len(work.layers),
        blocked=work.blocked,
        bytes_device=max(places.values()),
    )
