"""MEND read plainly from its paper: one text and one token at a time, the edited weights written out in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from tests.support.serial import Fact, tokens
from tests.support.serial_fine_tuning import target_loss
from tests.support.serial_one_gradient import feature

State = Mapping[str, Tensor]


def transformed(state: State, index: int, u: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """(ũ, δ̃) of one token."""
    z = (torch.cat([u, delta]) - state["mean"][index]) / (state["deviation"][index] + 1e-7)
    for part in ("first", "second"):
        change = state[f"{part}.up"] @ (state[f"{part}.down"] @ z) + state[f"{part}.bias"]
        change = state[f"{part}.scale"][index] * change + state[f"{part}.offset"][index]
        z = z + (torch.relu(change) if part == "first" else change)
    return z[: len(u)], z[len(u) :]


def edited(
    model: Any,
    tokenizer: Any,
    writers: Sequence[Any],
    facts: Sequence[tuple[Fact, State]],
    scale: float = 1.0,
) -> list[Tensor]:
    """W̃ of each of `writers`, as the parameter is stored; every fact brings the network that edits it."""
    found = []
    for index, writer in enumerate(writers):
        weight = writer.weight.detach().clone()
        for fact, state in facts:
            for u, delta in feature(model, tokenizer, fact, writer, whole=True):
                if not bool((delta != 0).any()):
                    continue
                u_new, delta_new = transformed(state, index, u, delta)
                step = scale * state["rates"][index] * torch.outer(u_new, delta_new)
                weight = weight - (step if weight.shape == step.shape else step.T)
        found.append(weight)
    return found


def training_loss(
    model: Any,
    tokenizer: Any,
    names: Mapping[str, Any],
    state: State,
    batch: Sequence[tuple[Fact, Fact, Fact]],
    edit_weight: float,
) -> Tensor:
    """c · mean −log P̃[o* | x′] + mean KL(P ‖ P̃), for (edited, asked, kept) facts; `names`: parameter → W_out."""
    weights = edited(model, tokenizer, list(names.values()), [(one, state) for one, _, _ in batch])
    changed = dict(zip(names, weights, strict=True))

    class Edited:
        def __call__(self, ids: Tensor, use_cache: bool = False) -> Any:
            return functional_call(model, changed, (ids,), {"use_cache": use_cache})

    said = torch.stack([target_loss(Edited(), tokenizer, asked, None) for _, asked, _ in batch]).mean()
    moved = []
    for _, _, kept in batch:
        ids, _ = tokens(tokenizer, f"{kept.before}{kept.subject}{kept.after} {kept.target}")
        before = model(torch.tensor([ids]), use_cache=False).logits[0].detach().log_softmax(-1)
        after = Edited()(torch.tensor([ids])).logits[0].log_softmax(-1)
        moved += [(p.exp() * (p - q)).sum() for p, q in zip(before, after, strict=True)]
    return edit_weight * said + torch.stack(moved).mean()
