"""Targets (16): δ_i that makes the model say o_i, optimised for many key groups at once.

δ enters at layer L at the subject's last token, so everything before that token, at any layer, and
everything up to layer L is constant: it is computed once (keys and values of the text before the
subject's last token; hidden states of layer L from there on), and each step runs only the remaining
tokens through the layers above L, forward and backward, with logits only where they are read.
Groups are independent: each has its own Adam moments, clamp and end, so batching them changes
nothing but the last bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicLayer

from editing.architectures import Parts
from editing.deltas import Delta
from editing.errors import NumericalError
from editing.groups import Group
from editing.hooks import bypassed, on_input, on_output
from editing.passes import Rows, padded, prepare, read
from editing.settings import EditSettings

Done = Callable[[Group, Delta], None]
Step = Callable[[int, float], None]
"""Called after each step with the number of groups still at work and the share of the steps they have done."""

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class FixedLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer that every step attends to and none adds to."""

    def __init__(self, length: int, keys: Tensor | None = None, values: Tensor | None = None) -> None:
        super().__init__()
        self.length = length
        self.keys, self.values = keys, values
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        assert self.keys is not None and self.values is not None, "a layer up to L is never run"
        return torch.cat([self.keys, key_states], -2), torch.cat([self.values, value_states], -2)

    def get_seq_length(self) -> int:
        return self.length


@dataclass
class Suffixes:
    """The rows that are optimised: B texts from the subject's last token on."""

    ids: Tensor
    """[B, T]"""
    hidden: Tensor
    """[B, T, d] output of layer L without δ."""
    mask: Tensor
    """[B, Tp + T] 0 where the text before is padded, on its left."""
    positions: Tensor
    """[B, T]"""
    group: Tensor
    """[B] index of the row's group."""
    past: list[tuple[Tensor, Tensor]]
    """Keys and values [B, heads, Tp, d_head] of each layer above L."""

    def select(self, rows: Tensor) -> Suffixes:
        """These rows alone."""
        return Suffixes(
            self.ids[rows],
            self.hidden[rows],
            self.mask[rows],
            self.positions[rows],
            self.group[rows],
            [(keys[rows], values[rows]) for keys, values in self.past],
        )


@dataclass
class Reads:
    """Where logits are read: one entry a target token, or one a KL term."""

    row: Tensor
    position: Tensor
    weight: Tensor
    label: Tensor
    """Token to be said; −1 for a KL entry."""

    def select(self, kept: Tensor, renumbered: Tensor) -> Reads:
        return Reads(renumbered[self.row[kept]], self.position[kept], self.weight[kept], self.label[kept])


class Optimisation:
    """δ of a batch of key groups, step by step."""

    def __init__(
        self, model: Any, parts: Parts, groups: Sequence[Group], settings: EditSettings, layer: int
    ) -> None:
        self.model, self.parts, self.settings, self.layer = model, parts, settings, layer
        self.groups = list(groups)
        self.dtype = torch.promote_types(model.dtype, torch.float32)
        self.suffixes, self.tuples = collect_suffixes(model, parts, groups, layer)
        self.reads = _reads(groups, self.suffixes.ids.device, self.dtype)
        count, device = len(self.groups), self.suffixes.ids.device
        first = torch.zeros(count, dtype=torch.long, device=device)
        for row in range(len(self.suffixes.group) - 1, -1, -1):
            first[self.suffixes.group[row]] = row
        self.norm = self.suffixes.hidden[first, 0].to(self.dtype).norm(dim=1)  # ‖h‖ of the bare prompt
        self.delta = torch.zeros(count, parts.width, dtype=self.dtype, device=device)
        self.mean = torch.zeros_like(self.delta)
        self.square = torch.zeros_like(self.delta)
        self.loss = torch.full((count,), torch.inf, dtype=self.dtype, device=device)
        self.unedited: Tensor | None = None
        self.updates = 0

    def run(self, done: Done, step: Step = lambda working, share: None) -> None:
        """All steps, as the released implementation counts them: `steps` losses, one update fewer.

        An exception from `step` ends the run; what has been handed to `done` stays done.
        """
        updates = self.settings.steps - 1
        for _ in range(updates):
            gradient = self.gradient()
            self.leave(self.loss < self.settings.stop_loss, done)
            if not self.groups:
                return
            self.update(gradient[self._stayed])
            step(len(self.groups), self.updates / updates)
        self.leave(torch.ones_like(self.loss, dtype=torch.bool), done)

    def gradient(self) -> Tensor:
        """d loss / d δ, [G, d]; the groups' losses are left in `self.loss`."""
        delta = self.delta.detach().requires_grad_(True)
        with torch.enable_grad():
            loss = self.losses(delta)
            (gradient,) = torch.autograd.grad(loss.sum(), delta)
        self.loss = loss.detach()
        if not bool(torch.isfinite(self.loss).all()):
            worst = self.groups[int((~torch.isfinite(self.loss)).nonzero()[0])]
            raise NumericalError(
                f"the loss of {[request.id for request in worst.requests]} is not finite after "
                f"{self.updates} updates: lower lr ({self.settings.lr}) or load the model in fp32"
            )
        return gradient

    def losses(self, delta: Tensor) -> Tensor:
        """The loss of each group, [G]: mean NLL + kl · KL + weight_decay · ‖δ‖ / ‖h‖²."""
        logp = self.logits(delta).to(self.dtype).log_softmax(-1)
        says = self.reads.label >= 0
        terms = logp.new_zeros(len(logp))
        terms[says] = -logp[says, self.reads.label[says]]
        if not bool(says.all()):
            kept = logp[~says]
            if self.unedited is None:
                self.unedited = kept.detach()
            terms[~says] = self.settings.kl * (kept.exp() * (kept - self.unedited)).sum(-1)
        owner = self.suffixes.group[self.reads.row]
        loss = delta.new_zeros(len(delta)).index_add(0, owner, terms * self.reads.weight)
        return loss + self.settings.weight_decay * delta.norm(dim=1) / self.norm**2

    def logits(self, delta: Tensor) -> Tensor:
        """Logits at `self.reads`, [n, V], with δ added at the subject's last token."""
        rows = self.suffixes
        first = rows.hidden[:, :1] + delta[rows.group, None]
        hidden = torch.cat([first.to(rows.hidden.dtype), rows.hidden[:, 1:]], dim=1)
        past_length = rows.mask.shape[1] - rows.ids.shape[1]
        below = [FixedLayer(past_length) for _ in range(self.layer + 1)]
        cache = Cache(layers=[*below, *(FixedLayer(past_length, *pair) for pair in rows.past)])
        blocks = self.parts.blocks[: self.layer + 1]

        def gather(final: Tensor) -> Tensor:
            return final[self.reads.row, self.reads.position][None]

        with ExitStack() as stack:
            stack.enter_context(bypassed(blocks, tuples=self.tuples))
            stack.enter_context(on_output(blocks[-1], lambda _: hidden))
            stack.enter_context(on_input(self.parts.head, gather))
            output = self.model(
                input_ids=rows.ids,
                attention_mask=rows.mask,
                position_ids=rows.positions,
                past_key_values=cache,
                use_cache=True,
            )
        logits: Tensor = output.logits[0]
        return logits

    def update(self, gradient: Tensor) -> None:
        """One step of Adam for every group, then ‖δ‖ ≤ clamp · ‖h‖."""
        self.updates += 1
        self.mean.lerp_(gradient, 1 - BETAS[0])
        self.square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        correction = (1 - BETAS[1] ** self.updates) ** 0.5
        step = self.settings.lr / (1 - BETAS[0] ** self.updates)
        self.delta.addcdiv_(self.mean, self.square.sqrt() / correction + EPSILON, value=-step)
        limit = self.settings.clamp * self.norm
        length = self.delta.norm(dim=1)
        self.delta *= torch.where(length > limit, limit / length, torch.ones_like(length))[:, None]

    def leave(self, finished: Tensor, done: Done) -> None:
        """Hand finished groups to `done` and go on without them."""
        self._stayed = (~finished).nonzero()[:, 0]
        if not bool(finished.any()):
            return
        for index in finished.nonzero()[:, 0].tolist():
            delta = Delta(
                value=self.delta[index].cpu().clone(),
                norm=float(self.norm[index]),
                loss=float(self.loss[index]),
                updates=self.updates,
            )
            done(self.groups[index], delta)
        self._keep(self._stayed)

    def _keep(self, kept: Tensor) -> None:
        self.groups = [self.groups[index] for index in kept.tolist()]
        staying = torch.zeros_like(self.norm, dtype=torch.bool)
        staying[kept] = True
        rows = staying[self.suffixes.group].nonzero()[:, 0]
        reads = staying[self.suffixes.group[self.reads.row]]
        if self.unedited is not None:
            self.unedited = self.unedited[reads[self.reads.label < 0]]
        self.reads = self.reads.select(reads, _renumbered(rows, len(self.suffixes.ids)))
        groups = _renumbered(kept, len(self.norm))
        self.suffixes = self.suffixes.select(rows)
        self.suffixes.group = groups[self.suffixes.group]
        for name in ("norm", "delta", "mean", "square", "loss"):
            setattr(self, name, getattr(self, name)[kept])


def _renumbered(kept: Tensor, count: int) -> Tensor:
    """New index of each old one; −1 for those not kept."""
    table = torch.full((count,), -1, dtype=torch.long, device=kept.device)
    table[kept] = torch.arange(len(kept), device=kept.device)
    return table


def _reads(groups: Sequence[Group], device: torch.device, dtype: torch.dtype) -> Reads:
    """Targets: each fact and context weighs the same, each token of a target the same within it."""
    row, position, weight, label = [], [], [], []
    index = 0
    for group in groups:
        facts = sum(not term.kl for term in group.terms)
        for term in group.terms:
            text = term.text
            if term.kl:
                row.append(index)
                position.append(len(text.ids) - 1 - text.subject)
                weight.append(1.0)
                label.append(-1)
            else:
                length = len(text.ids) - text.target
                row += [index] * length
                position += [at - 1 - text.subject for at in range(text.target, len(text.ids))]
                weight += [1.0 / (facts * length)] * length
                label += text.ids[text.target :]
            index += 1

    def integers(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    return Reads(
        integers(row), integers(position), torch.tensor(weight, dtype=dtype, device=device), integers(label)
    )


def _row_ids(group: Group) -> list[tuple[tuple[int, ...], int]]:
    """(tokens to run, index of the subject's last token): a target's last token predicts nothing here."""
    return [(term.text.ids if term.kl else term.text.ids[:-1], term.text.subject) for term in group.terms]


@torch.no_grad()
def collect_suffixes(
    model: Any, parts: Parts, groups: Sequence[Group], layer: int
) -> tuple[Suffixes, bool]:
    """The constants of the optimisation, and whether this model's blocks return tuples."""
    rows = [row for group in groups for row in _row_ids(group)]
    owner = torch.tensor([index for index, group in enumerate(groups) for _ in group.terms])
    subjects = [subject for _, subject in rows]
    batch = prepare(model, [ids for ids, _ in rows], below=min(subjects))
    seen: dict[str, Any] = {}
    block = parts.blocks[layer]
    handle = block.register_forward_hook(lambda _, __, output: seen.update(tuple=isinstance(output, tuple)))
    try:
        with on_output(block, lambda hidden: seen.update(hidden=hidden)):
            read(model, batch)
    finally:
        handle.remove()
    return _from_subject(batch, seen["hidden"], rows, owner, layer), seen["tuple"]


def _from_subject(
    batch: Rows, hidden: Tensor, rows: list[tuple[tuple[int, ...], int]], owner: Tensor, layer: int
) -> Suffixes:
    """Cut a batch that was run whole at each row's subject: what lies before becomes the past."""
    device = hidden.device
    subject = torch.tensor([at for _, at in rows], device=device)
    length = torch.tensor([len(ids) for ids, _ in rows], device=device)
    before, after = int(subject.max()), int((length - subject).max())
    ids, _ = padded([row[at:] for row, at in rows], device)
    # Column j of the past holds token j − (before − subject): padded on the left, so that the past
    # ends where the suffix begins and sliding windows count right.
    column = torch.arange(before, device=device)[None] - (before - subject)[:, None]
    source = column.clamp(min=0)
    past = []
    for cached in batch.cache.layers[layer + 1 :]:
        index = source[:, None, :, None]
        past.append(tuple(
            states.gather(2, index.expand(-1, states.shape[1], -1, states.shape[3]))
            for states in (cached.keys, cached.values)
        ))
    steps = torch.arange(after, device=device)[None]
    inside = (subject[:, None] - batch.shared + steps).clamp(max=hidden.shape[1] - 1)
    kept = hidden.gather(1, inside[..., None].expand(-1, -1, hidden.shape[2]))
    positions = (subject[:, None] + steps).minimum(length[:, None] - 1)
    mask = torch.cat([(column >= 0).long(), torch.ones_like(ids)], dim=1)
    return Suffixes(ids, kept, mask, positions, owner.to(device), past)
