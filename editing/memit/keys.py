"""Keys and residuals (19, 20) of each layer, collected in batches of key groups.

A key is read at the subject's last token, so every text is cut there and every pass ends at layer L.
The pass for one layer of R keeps the states that enter that layer.  The pass for the next layer resumes from
them, since only weights above have changed, if there is enough memory to hold them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from editing.memit.columns import Add, ColumnSource, UnusableKeys
from editing.memit.groups import Group
from editing.memit.norms import through_norm
from editing.model.architectures import Parts
from editing.model.devices import device_of, distinct, input_device
from editing.model.hooks import on_input, on_output, returns_tuple, stopped_after
from editing.model.memory import batches, halving, pass_bytes
from editing.model.passes import BEGINNING, Rows, Start, padded, prepare, read
from editing.model.prefix_cache import runs_suffixes
from editing.progress import Progress, silent
from editing.settings import EditSettings


def context_weights(count: int) -> list[float]:
    """Weight of each context: ½ for the bare prompt, ½ shared by the prefixes (as the released code averages)."""
    return [1.0] if count == 1 else [0.5] + [0.5 / (count - 1)] * (count - 1)


@dataclass(frozen=True)
class Site:
    """Where a model is edited, and how."""

    model: Any
    parts: Parts
    layers: Sequence[int]
    """R, ascending."""
    settings: EditSettings
    kept: Sequence[Group] = ()
    """Keys that should stay as they are (`kept.py`)."""


KEYS_AT_ONCE = 32
"""Number of texts in one pass of `bare_keys`."""


@torch.no_grad()
def bare_keys(model: Any, parts: Parts, layers: Sequence[int], groups: Sequence[Group]) -> dict[int, Tensor]:
    """Layer → [G, d_k], the keys of `groups` in their bare prompts with the current weights, in fp32 or better.

    The keys of a prompt that does not fit in memory even alone are NaN.
    """
    dtype = torch.promote_types(model.dtype, torch.float32)
    order = sorted(range(len(groups)), key=lambda index: len(groups[index].contexts[0]))
    keys = {
        layer: torch.full(
            (len(groups), parts.key_width(layer)),
            torch.nan,
            dtype=dtype,
            device=device_of(parts.blocks[layer]),
        )
        for layer in layers
    }

    def run(chunk: Sequence[int]) -> None:
        ids, lengths = padded([groups[index].contexts[0] for index in chunk], input_device(model))
        last = lengths - 1

        def keep(layer: int) -> Callable[[Tensor], None]:
            def see(states: Tensor) -> None:
                keys[layer][list(chunk)] = _last_of(states.reshape(*ids.shape, -1), last).to(dtype)

            return see

        with ExitStack() as stack:
            for layer in layers:
                stack.enter_context(on_input(parts.writer(layer), keep(layer)))
            stack.enter_context(stopped_after(parts.blocks[max(layers)]))
            model.base_model(input_ids=ids, use_cache=False)

    for start in range(0, len(order), KEYS_AT_ONCE):
        halving(order[start : start + KEYS_AT_ONCE], run, too_large=lambda _, __: None)
    return keys


def _last_of(states: Tensor, last: Tensor) -> Tensor:
    """[n, width]: of `states` [n, T, width], each row's at its own index `last`."""
    return states[torch.arange(len(last), device=states.device), last.to(states.device)]


class Collector(ColumnSource):
    """Keys and residuals of all groups, layer by layer, batch by batch."""

    def __init__(
        self,
        site: Site,
        groups: Sequence[Group],
        deltas: Tensor,
        preserved: Sequence[Group] = (),
        memory: float | None = None,
    ) -> None:
        """`memory`: bytes for states kept between passes (None: half of the free memory)."""
        model, parts, layers, settings = site.model, site.parts, site.layers, site.settings
        self.model, self.parts, self.settings = model, parts, settings
        self.top = layers[-1]
        self.groups, self.edited = [*groups, *preserved], len(groups)
        self.order = sorted(range(len(self.groups)), key=self._place)
        self.weights = context_weights(len(groups[0].contexts))
        self.dtype = torch.promote_types(model.dtype, torch.float32)
        self.deltas = torch.cat([deltas.to(self.dtype), deltas.new_zeros(len(preserved), parts.width)])
        contexts = len(self.weights) if settings.keys == "all" else 1
        self.count = len(self.groups) * contexts
        self.unedited = torch.zeros(len(self.groups), contexts, parts.width, dtype=self.dtype)
        self.tuples = returns_tuple(model, parts.blocks[self.top])
        free = min(map(pass_bytes, distinct(parts.blocks[: self.top + 1])))
        held = self._held_bytes()
        self.whole = not runs_suffixes(model)
        self.resumes = (
            not self.whole and len(layers) > 1 and held <= (0.5 * free if memory is None else memory)
        )
        # The batches are the same for all layers, so that a pass finds the states of the previous one.
        self.chunks = list(batches(self.order, self._cost, free - held if self.resumes else free))
        self.unusable: set[int] = set()
        """Indices of groups whose columns are not finite."""
        self.left: dict[tuple[tuple[int, ...], int], Start] = {}
        self.arriving = self.left

    def each(self, add: Add, layer: int, share: float, *, first: bool, progress: Progress = silent) -> None:
        """Call `add` with the columns of all groups, in the order of `chunks`.  Raises UnusableKeys."""
        done = 0

        def run(chunk: Sequence[int]) -> None:
            nonlocal done
            for keys, residuals in self.columns(chunk, layer, share, first=first):
                finite = torch.isfinite(keys).all(1) & torch.isfinite(residuals).all(1)
                self.unusable |= {chunk[row] for row in (~finite).nonzero()[:, 0].tolist()}
                add(keys, residuals)
            done += len(chunk)
            progress("keys", done, len(self.groups))

        self.arriving, self.left = self.left, {}
        for chunk in self.chunks:
            halving(chunk, run)
        if self.unusable:
            raise UnusableKeys([self.groups[index] for index in sorted(self.unusable)], layer)

    def _place(self, index: int) -> tuple[int, str]:
        """Batches of groups of similar length, to keep padding small."""
        return len(self.groups[index].contexts[0]), self.groups[index].key

    def columns(
        self, chunk: Sequence[int], layer: int, share: float, *, first: bool
    ) -> list[tuple[Tensor, Tensor]]:
        """Weighted (keys [n, d_k], residuals [n, d]) of the groups in `chunk`: averaged (19), or one per context."""
        seen = [self._look(chunk, context, layer) for context in range(len(self.weights))]
        index = torch.tensor(chunk)
        deltas = self.deltas[index.to(self.deltas.device)]
        read_out = seen if self.settings.keys == "all" else seen[:1]
        residuals = []
        for context, (_, hidden, entering) in enumerate(read_out):
            if first:
                self.unedited[index, context] = hidden.to(self.unedited)
            done = hidden - self.unedited[index, context].to(hidden)
            residual = (deltas.to(hidden) - done) * (share / self.parts.gain(layer))
            residual[(index >= self.edited).to(residual.device)] = 0.0  # a preserved key is to change nothing
            norm, residual = self.parts.norm(layer), residual.to(entering.device)
            residuals.append(residual if norm is None else through_norm(norm, entering, residual))
        if self.settings.keys == "average":
            return [(self._averaged(seen), residuals[0])]
        return [
            (weight**0.5 * keys, weight**0.5 * residual)
            for weight, (keys, _, _), residual in zip(self.weights, seen, residuals, strict=True)
        ]

    def _averaged(self, seen: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        """Σ_j w_j k_j over the contexts (19)."""
        weighted = [weight * keys for weight, (keys, _, _) in zip(self.weights, seen, strict=True)]
        return torch.stack(weighted).sum(0)

    def _look(self, chunk: Sequence[int], context: int, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """(k^l, h^L, input of the norm after W_out) at the subject's last token, which ends each row."""
        rows = [self.groups[index].contexts[context] for index in chunk]
        # An averaged key's residual is the bare prompt's, so other contexts need not go up to L.
        needed = context == 0 or self.settings.keys == "all"
        stop = self.parts.blocks[self.top if needed else layer]
        place = (tuple(chunk), context)
        start = self.arriving.pop(place, BEGINNING)
        with self._leaving(place, layer):
            below = min(map(len, rows)) - 1
            batch = prepare(self.model, rows, below=below, stop=stop, start=start, whole=self.whole)
            last = torch.tensor([len(row) - 1 - batch.shared for row in rows], device=batch.ids.device)
            seen = self._seen(batch, last, layer, stop, start)
        return seen["key"], seen["hidden"], seen.get("entering", seen["key"])

    def _seen(
        self, batch: Rows, last: Tensor, layer: int, stop: nn.Module, start: Start
    ) -> dict[str, Tensor]:
        """What a pass over the own tokens of `batch` yields at [row, last[row]]."""
        seen: dict[str, Tensor] = {}

        def at_subject(name: str) -> Callable[[Tensor], None]:
            def see(states: Tensor) -> None:
                seen[name] = _last_of(states.reshape(*batch.ids.shape, -1), last).to(self.dtype)

            return see

        with ExitStack() as stack:
            stack.enter_context(on_input(self.parts.writer(layer), at_subject("key")))
            stack.enter_context(on_output(stop, at_subject("hidden")))
            norm = self.parts.norm(layer)
            if norm is not None:
                stack.enter_context(on_input(norm, at_subject("entering")))
            read(self.model, batch, stop=stop, start=start)
        return seen

    @contextmanager
    def _leaving(self, place: tuple[tuple[int, ...], int], layer: int) -> Iterator[None]:
        """Passes in the block keep the states that enter `layer`, from which the next layer's pass resumes."""
        if not self.resumes or layer == 0 or layer == self.top:
            yield
            return
        below = self.parts.blocks[:layer]
        states: list[Tensor] = []
        with on_output(below[-1], states.append):
            yield
        *shared, own = states
        self.left[place] = Start(below, self.tuples, shared[0] if shared else None, own)

    def _held_bytes(self) -> int:
        """Bytes of one state for every token of every context."""
        tokens = sum(len(text) for group in self.groups for text in group.contexts)
        return int(tokens * self.parts.width * self.model.dtype.itemsize)

    def _cost(self, index: int) -> int:
        """Bytes of one group in a pass: hidden states of its tokens, and their keys and values up to L."""
        widest = max(self.parts.key_width(layer) for layer in self.parts.editable if layer <= self.top)
        longest = max(map(len, self.groups[index].contexts))
        per_token = 12 * self.parts.width + 4 * widest + 2 * (self.top + 1) * self.parts.width
        kept = len(self.weights) * (widest + 3 * self.parts.width)
        return int((longest * per_token + kept) * self.model.dtype.itemsize)
