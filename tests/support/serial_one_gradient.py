"""UltraEdit read plainly from its paper: one text at a time, all features kept, the statistics computed over again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tests.support.serial import Fact, tokens
from tests.support.serial_fine_tuning import target_loss


def feature(
    model: Any, tokenizer: Any, fact: Fact, writer: nn.Module, *, whole: bool = False
) -> list[tuple[Tensor, Tensor]]:
    """(h, ∇y) of `writer` at each position that predicts a token of the target, or at all positions."""
    prompt = fact.before + fact.subject + fact.after
    ids, offsets = tokens(tokenizer, f"{prompt} {fact.target}")
    first = next(i for i, (_, b) in enumerate(offsets) if b > len(prompt))
    seen: dict[str, Tensor] = {}

    def forward(_: nn.Module, args: Any, output: Tensor) -> None:
        seen["h"] = args[0].detach().reshape(len(ids), -1)

    def backward(_: nn.Module, __: Any, gradients: Any) -> None:
        seen["g"] = gradients[0].detach().reshape(len(ids), -1)

    handles = [writer.register_forward_hook(forward), writer.register_full_backward_hook(backward)]
    model.requires_grad_(True)
    with torch.enable_grad():
        target_loss(model, tokenizer, fact, None).backward()
    for handle in handles:
        handle.remove()
    return [
        (seen["h"][i], seen["g"][i]) for i in (range(len(ids)) if whole else range(first - 1, len(ids) - 1))
    ]


def one_gradient(
    model: Any,
    tokenizer: Any,
    writers: Sequence[Any],
    turns: Sequence[Sequence[Fact]],
    *,
    lr: float,
    l2: float,
    epsilon: float = 1e-8,
) -> None:
    """Edit `writers` in place, turn by turn; every turn normalises by all features seen so far."""
    seen: list[list[tuple[Tensor, Tensor]]] = [[] for _ in writers]
    for facts in turns:
        updates = []
        new = [
            [pair for fact in facts for pair in feature(model, tokenizer, fact, writer)] for writer in writers
        ]
        for so_far, pairs in zip(seen, new, strict=True):
            so_far += pairs
            all_h, all_g = torch.stack([h for h, _ in so_far]), torch.stack([g for _, g in so_far])
            H, V = [], []
            for h, g in pairs:
                h_n = (h - all_h.mean(0)) / (all_h.std(0, correction=0) + epsilon)
                g_n = (g - all_g.mean(0)) / (all_g.std(0, correction=0) + epsilon)
                H.append(h)
                V.append(-lr * h_n.dot(h_n) * g_n)
            rows, values = torch.stack(H), torch.stack(V)
            bracket = rows.T @ rows + l2 * torch.eye(rows.shape[1], dtype=rows.dtype)
            updates.append(torch.linalg.inv(bracket) @ rows.T @ values)
        for writer, update in zip(writers, updates, strict=True):
            weight = writer.weight
            weight.data += update if weight.shape == update.shape else update.T
