"""Free generation: whether the model states a fact in its own words, and still writes proper text.

Teacher forcing hides failures (arXiv 2502.11177), so edited facts are also tested by sampling, and the texts
are checked for degenerate repetition by their n-gram entropy (GE).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editing.evaluation.scoring import (
    answer_ends,
    before_end,
    encode_prompts,
    for_each_room,
)
from editing.model.inference import Continuation
from editing.model.passes import Ids
from editing.progress import Tick, uncounted

TOKENS = 100
"""Length of a generated text in tokens, as in the paper (shorter if the model's context is)."""
TOP_K = 5


@dataclass(frozen=True, slots=True)
class GeneratedText:
    """The text sampled after a prompt."""

    text: str
    """The whole text, which shows whether the model still writes properly."""
    answer: str
    """The text up to the first token that ends it: what follows belongs to another text and answers nothing."""


@torch.inference_mode()
def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    tokens: int = TOKENS,
    top_k: int = TOP_K,
    seed: int = 0,
    tick: Tick = uncounted,
) -> list[GeneratedText]:
    """A continuation of every prompt, each token drawn from the `top_k` likeliest.

    Every prompt has a separate generator, seeded by `seed` and the prompt, so that a text does not depend on
    what else is in the batch.
    """
    encoded = dict(zip(prompts, encode_prompts(tokenizer, prompts), strict=True))
    texts: dict[str, GeneratedText] = {}
    ends = answer_ends(model, tokenizer)

    def spelled(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=True))

    def run(batch: Sequence[str], room: int) -> None:
        noise = torch.stack([_noise(prompt, seed, room, top_k) for prompt in batch])
        rows = _sample(model, [encoded[prompt] for prompt in batch], noise)
        for prompt, row in zip(batch, rows, strict=True):
            texts[prompt] = GeneratedText(spelled(row), spelled(before_end(row, ends)))
        tick(len(batch))

    for_each_room(model, list(encoded), lambda prompt: len(encoded[prompt]), run, tokens)
    return [texts[prompt] for prompt in prompts]


def _noise(prompt: str, seed: int, tokens: int, top_k: int) -> Tensor:
    """(tokens, top_k) standard Gumbel noise: argmax(logits + noise) is a sample of softmax(logits)."""
    digest = hashlib.sha256(f"{seed}\0{prompt}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    uniform = torch.rand(max(tokens, 0), top_k, generator=generator, dtype=torch.float64)
    return -torch.log(-torch.log(uniform.clamp(1e-12, 1 - 1e-12)))


def _sample(model: Any, prompts: Sequence[Ids], noise: Tensor) -> list[list[int]]:
    """B prompts and (B, tokens, k) noise -> sampled continuations."""
    if not noise.shape[1]:
        return [[] for _ in prompts]
    continuation = Continuation(model, prompts)
    chosen: list[Tensor] = []
    for step in range(noise.shape[1]):
        if step:
            continuation.append(chosen[-1])
        top = continuation.logits.double().topk(noise.shape[2])
        choice = (top.values + noise[:, step].to(top.values.device)).argmax(-1, keepdim=True)
        chosen.append(top.indices.gather(-1, choice)[:, 0])  # (B,)
    rows: list[list[int]] = torch.stack(chosen, dim=1).tolist()
    return rows
