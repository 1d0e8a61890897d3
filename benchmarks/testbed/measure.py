"""What a testbed model knows, and whether its facts are read where MEMIT writes.

    python -m benchmarks.testbed.measure [--model DIR]

The decisive figure is the *free-z ceiling*: how often a δ of the editor's own optimisation, added at the
subject's last token of layer L and nowhere else, states another object.  MEMIT can only realise what
some δ can do, so this is measured before anything is tuned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import GPT2LMHeadModel

from benchmarks.testbed import network
from benchmarks.testbed.corpus import span

Case = tuple[str, str, str]
"""(template, subject, object)"""


@dataclass(frozen=True, slots=True)
class Asked:
    """B prompts with their objects appended, padded at the end (causal: that changes nothing before it)."""

    ids: Tensor
    """[B, T]"""
    target: Tensor
    """[B, T] True where the *next* token belongs to the object."""
    labels: Tensor
    """[B, T] the next token."""
    last: Tensor
    """[B] position of the subject's last token."""

    def right(self, logits: Tensor) -> Tensor:
        """[B] whether all tokens of the object are the strict argmax."""
        return ((logits.argmax(-1) == self.labels) | ~self.target).all(1)

    def loss(self, logits: Tensor) -> Tensor:
        """[B] mean −log P of the object's tokens."""
        taken = F.log_softmax(logits, -1).gather(-1, self.labels[..., None])[..., 0]
        return -(taken * self.target).sum(1) / self.target.sum(1)


def ask(tokenizer: Any, cases: Sequence[Case]) -> Asked:
    """The cases as tokens, located by offset mapping."""
    rows = []
    for template, subject, target in cases:
        prompt = template.format(subject)
        text = f"{prompt} {target}"
        coded = tokenizer(text, return_offsets_mapping=True)
        start = template.index("{}")
        named = span(coded["offset_mapping"], start, start + len(subject))
        answer = span(coded["offset_mapping"], len(prompt) + 1, len(text))
        rows.append((coded["input_ids"], named[1] - 1, answer))
    width = max(len(ids) for ids, _, _ in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    target = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, (tokens, _, (start, stop)) in enumerate(rows):
        ids[i, : len(tokens)] = torch.tensor(tokens)
        target[i, start - 1 : stop - 1] = True
    return Asked(ids, target, ids.roll(-1, 1), torch.tensor([last for _, last, _ in rows]))


@torch.no_grad()
def states(
    model: GPT2LMHeadModel, tokenizer: Any, cases: Sequence[Case], size: int = 256
) -> tuple[list[bool], list[float]]:
    """Whether each case is the strict argmax, and its mean −log P."""
    right: list[bool] = []
    loss: list[float] = []
    for start in range(0, len(cases), size):
        asked = ask(tokenizer, cases[start : start + size])
        out = network.run(model, asked.ids)
        right += asked.right(out).tolist()
        loss += asked.loss(out).tolist()
    return right, loss


@torch.no_grad()
def perplexity(model: GPT2LMHeadModel, tokenizer: Any, texts: Sequence[str]) -> float:
    """exp of the mean −log P of every token but the first of each text."""
    total, count = 0.0, 0
    for text in texts:
        ids = torch.tensor([tokenizer(text)["input_ids"][: model.config.n_positions]])
        logp = F.log_softmax(network.run(model, ids)[:, :-1], -1).gather(-1, ids[:, 1:, None])
        total -= float(logp.sum())
        count += logp.numel()
    return math.exp(total / count)


@torch.no_grad()
def states_with(
    model: GPT2LMHeadModel, tokenizer: Any, cases: Sequence[Case], layer: int, deltas: Tensor
) -> list[bool]:
    """Whether each case is stated when `deltas` [B, d] are added at its subject's last token behind `layer`."""
    asked = ask(tokenizer, cases)
    row = torch.arange(len(cases))

    def add(at: int, hidden: Tensor) -> Tensor:
        return hidden.index_put((row, asked.last), deltas, accumulate=True) if at == layer else hidden

    return [bool(right) for right in asked.right(network.run(model, asked.ids, after=add))]
