"""MEMIT in the order the released implementations work: the yardstick of `benchmarks/engine.py`.

One edit at a time; whole sequences through the whole model, all contexts of an edit in one padded
batch; logits at every position; keys and states by full-depth passes, one set a layer; one dense
fp64 solve a layer.  Written for this comparison, with the engine's settings and texts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editing.memit.cost import block_flops
from editing.memit.groups import Group
from editing.model.architectures import Parts
from editing.model.hooks import hidden_of, with_hidden
from editing.settings import EditSettings


@dataclass
class SerialRun:
    """What came out, and the seconds of each part over all edits; the solve does not depend on their number."""

    deltas: list[Tensor]
    """z − h of each edit."""
    tensors: dict[str, Tensor]
    """New weights, by name in the state dict."""
    targets: float
    keys: float
    solve: float

    def per_edit(self, n: int) -> float:
        """Seconds an edit, for a batch of `n`."""
        return (self.targets + self.keys) / len(self.deltas) + self.solve / n


class SerialMemit:
    """The yardstick on one model."""

    def __init__(self, model: Any, parts: Parts, settings: EditSettings, layers: Sequence[int]) -> None:
        self.model, self.parts, self.settings, self.layers = model, parts, settings, layers
        self.top = layers[-1]

    def run(
        self, groups: Sequence[Group], moments: Callable[[int], Tensor], clock: Callable[[], float]
    ) -> SerialRun:
        """Edit; the model's own weights are put back."""
        start = clock()
        targets = [self.target(group) for group in groups]
        optimised = clock()
        deltas = [z - self.state(group) for group, z in zip(groups, targets, strict=True)]
        keys_seconds = solve_seconds = 0.0
        saved = {layer: self.parts.writer(layer).weight.detach().clone() for layer in self.layers}
        for step, layer in enumerate(self.layers):
            begun = clock()
            keys = torch.stack([self.keys(group, layer) for group in groups], 1)
            residual = torch.stack(
                [z - self.state(group) for group, z in zip(groups, targets, strict=True)], 1
            )
            collected = clock()
            self.update(layer, keys, residual / (len(self.layers) - step), moments(layer))
            keys_seconds += collected - begun
            solve_seconds += clock() - collected
        tensors = {}
        for layer, weight in saved.items():
            changed: Any = self.parts.writer(layer).weight
            tensors[self.parts.weight_name(layer)] = changed.detach().clone()
            changed.data.copy_(weight)
        return SerialRun(deltas, tensors, optimised - start, keys_seconds, solve_seconds)

    def target(self, group: Group) -> Tensor:
        """z of one edit: every step runs every layer over every token of every context."""
        terms = [term for term in group.terms if not term.kl]
        kept = [term for term in group.terms if term.kl]
        rows = [term.text.ids for term in [*terms, *kept]]
        ids, mask = self._padded(rows)
        at = torch.tensor([term.text.subject for term in [*terms, *kept]], device=ids.device)
        labels = torch.full_like(ids, -100)
        for row, term in enumerate(terms):
            labels[row, term.text.target - 1 : len(term.text.ids) - 1] = ids[
                row, term.text.target : len(term.text.ids)
            ]
        delta = torch.zeros(self.parts.width, device=ids.device, requires_grad=True)
        adam = torch.optim.Adam([delta], lr=self.settings.lr)
        unedited = bare = None
        each = torch.arange(len(rows), device=ids.device)
        for step in range(self.settings.steps):
            adam.zero_grad()
            seen: dict[str, Tensor] = {}

            def hook(
                _: Any, __: Any, output: Any, seen: dict[str, Tensor] = seen, delta: Tensor = delta
            ) -> Any:
                hidden = hidden_of(output)
                seen.setdefault("bare", hidden[0, at[0]].detach())
                changed = hidden.clone()
                changed[each, at] += delta.to(hidden.dtype)
                return with_hidden(output, changed)

            handle = self.parts.blocks[self.top].register_forward_hook(hook)
            logits = self.model(ids, attention_mask=mask, use_cache=False).logits
            handle.remove()
            bare = seen["bare"].float() if bare is None else bare
            logp = logits.float().log_softmax(-1)
            told = labels[: len(terms)]
            picked = logp[: len(terms)].gather(2, told.clamp(min=0)[..., None])[..., 0]
            nll = -(picked * (told >= 0)).sum(1) / (told >= 0).sum(1)
            last = torch.tensor([len(term.text.ids) - 1 for term in kept], device=ids.device)
            ends = logp[len(terms) + torch.arange(len(kept), device=ids.device), last]
            unedited = ends.detach() if unedited is None else unedited
            kl = self.settings.kl * (ends.exp() * (ends - unedited)).sum()
            loss = nll.mean() + kl + self.settings.weight_decay * delta.norm() / bare.norm() ** 2
            if float(loss.detach()) < self.settings.stop_loss or step == self.settings.steps - 1:
                break
            loss.backward()
            adam.step()
            with torch.no_grad():
                limit = self.settings.clamp * bare.norm()
                if delta.norm() > limit:
                    delta *= limit / delta.norm()
        assert bare is not None
        return bare + delta.detach()

    @torch.no_grad()
    def keys(self, group: Group, layer: int) -> Tensor:
        """k of one edit (19), by a pass through the whole model."""
        terms = [term for term in group.terms if not term.kl]
        ids, mask = self._padded([term.text.ids for term in terms])
        seen = self._watch(self.parts.writer(layer), lambda args, _: args[0], ids, mask)
        at = torch.tensor([term.text.subject for term in terms], device=ids.device)
        found = seen.reshape(*ids.shape, -1)[torch.arange(len(terms), device=ids.device), at].float()
        return (found[0] + found[1:].mean(0)) / 2 if len(found) > 1 else found[0]

    @torch.no_grad()
    def state(self, group: Group) -> Tensor:
        """h^L of the bare prompt, by a pass through the whole model."""
        ids, mask = self._padded([group.terms[0].text.ids])
        seen = self._watch(self.parts.blocks[self.top], lambda _, output: hidden_of(output), ids, mask)
        return seen[0, group.terms[0].text.subject].float()

    @torch.no_grad()
    def update(self, layer: int, keys: Tensor, residual: Tensor, moment: Tensor) -> None:
        """Eqn. 14 by a dense LU in fp64."""
        keys, residual = keys.double(), residual.double()
        normal = self.settings.lam * moment.double().to(keys.device) + keys @ keys.T
        update = residual @ torch.linalg.solve(normal, keys).T
        weight: Any = self.parts.writer(layer).weight
        weight.data += (update.T if self.parts.transposed(layer) else update).to(weight.dtype)

    def _watch(self, module: Any, take: Callable[[Any, Any], Tensor], ids: Tensor, mask: Tensor) -> Tensor:
        seen: list[Tensor] = []
        handle = module.register_forward_hook(lambda _, args, output: seen.append(take(args, output)))
        self.model(ids, attention_mask=mask, use_cache=False)
        handle.remove()
        return seen[0]

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=self.model.device)
        mask = torch.tensor(
            [[1] * len(row) + [0] * (width - len(row)) for row in rows], device=self.model.device
        )
        return ids, mask

    def flops(self, groups: Sequence[Group]) -> float:
        """FLOPs an edit of the optimisation takes this way."""
        whole = sum(block_flops(block) for block in self.parts.blocks)
        above = sum(block_flops(block) for block in self.parts.blocks[self.top + 1 :])
        head = sum(2 * weight.numel() for weight in self.parts.head.parameters() if weight.dim() == 2)
        steps, total = self.settings.steps, 0.0
        for group in groups:
            width = max(len(term.text.ids) for term in group.terms)
            tokens = width * len(group.terms)
            total += tokens * (steps * (whole + head) + (steps - 1) * (above + head))
        return total / len(groups)


def wall(device: torch.device) -> Callable[[], float]:
    """Seconds on `device`: of work where that can be told, else on the wall after waiting for the device."""

    if device.type == "cpu" and torch.get_num_threads() == 1:
        return time.process_time  # one thread: what it worked, whatever else the machine does

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return now
