"""Fine-tuning read plainly: one text at a time through the whole model, torch's Adam on the parameter itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tests.support.serial import Fact, tokens


def target_loss(model: Any, tokenizer: Any, fact: Fact, end: int | None) -> torch.Tensor:
    """Mean −log P of the target's tokens, and of EOS where the target ends with it."""
    prompt = fact.before + fact.subject + fact.after
    ids, offsets = tokens(tokenizer, f"{prompt} {fact.target}")
    first = next(i for i, (_, b) in enumerate(offsets) if b > len(prompt))
    ids = ids if end is None else [*ids, end]
    logp = model(torch.tensor([ids]), use_cache=False).logits[0].log_softmax(-1)
    return -torch.stack([logp[i - 1, ids[i]] for i in range(first, len(ids))]).mean()


def fine_tune(
    model: Any,
    tokenizer: Any,
    weight: torch.nn.Parameter,
    epochs: Sequence[Sequence[Fact]],
    *,
    batch: int,
    lr: float,
    weight_decay: float = 0.0,
    stop_loss: float = 0.0,
    end: int | None = None,
) -> int:
    """Train `weight` in place, each of `epochs` in its own order; returns how many epochs were run."""
    model.requires_grad_(False)
    weight.requires_grad_(True)
    adam = torch.optim.Adam([weight], lr=lr, weight_decay=weight_decay)
    for number, facts in enumerate(epochs, start=1):
        losses = []
        for start in range(0, len(facts), batch):
            some = facts[start : start + batch]
            adam.zero_grad()
            loss = torch.stack([target_loss(model, tokenizer, fact, end) for fact in some]).mean()
            losses += [float(loss.detach())] * len(some)
            if float(loss.detach()) >= stop_loss:
                loss.backward()
                adam.step()
        if sum(losses) / len(losses) < stop_loss:
            return number
    return len(epochs)
