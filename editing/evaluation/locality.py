"""How far an edit moves the answers to prompts that it should not touch, beyond their likeliest token.

The figure is the Kullback-Leibler divergence KL(base ‖ candidate) of the next token's distribution, in nats.  It is
computed from the logits that score a question anyway.  Of the base, only the log-probabilities of the `TOP` likeliest
tokens and of all others together are kept, about half a kilobyte per prompt.  The divergence over these `TOP` + 1
classes is a lower bound of the full one: with r the base's probability of all others, it falls short by
r · KL(base's others ‖ candidate's others), by the chain rule (Cover and Thomas, Elements of Information Theory, 2.5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import rel_entr
from torch import Tensor

TOP = 64
"""Number of tokens whose probabilities are kept one by one."""


@dataclass(frozen=True, slots=True, eq=False)
class NextToken:
    """A model's distribution of the token after one prompt."""

    tokens: Tensor
    """(k,) ids of the likeliest tokens; int32, on the CPU."""
    logprobs: Tensor
    """(k + 1,) their log-probabilities, and that of all other tokens together; fp32, on the CPU."""


def next_token(logits: Tensor) -> NextToken:
    """The distribution given by `logits` (V,)."""
    tokens = logits.topk(min(TOP, len(logits))).indices
    return NextToken(tokens.int().cpu(), _classes(logits, tokens))


def divergence(base: NextToken, logits: Tensor) -> float:
    """KL(base ‖ model) in nats over the base's classes, for the model's `logits` (V,); not finite if they are not."""
    own = _classes(logits, base.tokens.to(logits.device).long()).double().exp()
    terms = rel_entr(base.logprobs.double().exp().numpy(), own.numpy())
    return float(np.maximum(terms.sum(), 0.0))  # keeps NaN, and is never below zero by rounding


def _classes(logits: Tensor, tokens: Tensor) -> Tensor:
    """(k + 1,) log-probabilities of `tokens` and of all others together, on the CPU.

    The others are summed up themselves: one minus the rest would be all rounding error where little is left.
    """
    logprobs = logits.float().log_softmax(-1)
    others = logprobs.index_fill(0, tokens, -torch.inf).logsumexp(0, keepdim=True)
    return torch.cat([logprobs[tokens], others]).cpu()
