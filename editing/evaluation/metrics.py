"""Metrics of a single model: strict argmax, answers, perplexity and weight growth.

Two models are compared by the caller.  The published scores are in `editing.evaluation.published`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editing.errors import DataError
from editing.evaluation.scoring import (
    cut_answer,
    encode_prompts,
    encode_targets,
    greedy_answers,
    score,
)
from editing.model.devices import input_device
from editing.model.loading import context_length
from editing.model.weights import growth
from editing.progress import Tick, uncounted

PERPLEXITY_TOKENS = 256
"""Length of a window of held-out text, in tokens."""


def strict_argmax(
    model: Any, tokenizer: Any, pairs: Sequence[tuple[str, str]], *, tick: Tick = uncounted
) -> list[bool]:
    """For every (prompt, target), whether all target tokens are the strict argmax, teacher-forced."""
    return [item.strict for item in score(model, encode_targets(tokenizer, pairs), tick=tick)]


def answers(model: Any, tokenizer: Any, prompts: Sequence[str], *, tick: Tick = uncounted) -> list[str]:
    """The greedy answer to each prompt, cut where the object ends, for display."""
    rows = greedy_answers(model, tokenizer, encode_prompts(tokenizer, prompts), tick=tick)
    return [cut_answer(tokenizer, row)[0] for row in rows]


@torch.inference_mode()
def perplexity(model: Any, windows: Sequence[Tensor], *, tick: Tick = uncounted) -> float:
    """exp of the mean negative log-likelihood of a token, over `text_windows` (each (1, T))."""
    total, count = 0.0, 0
    for window in windows:
        ids = window.to(input_device(model))
        logprobs = model(ids, use_cache=False).logits[0, :-1].float().log_softmax(-1)  # (T-1, V)
        total -= float(logprobs.gather(-1, ids[0, 1:, None].to(logprobs.device)).double().sum())
        count += ids.shape[1] - 1
        tick(1)
    average = total / count
    return math.exp(average) if average < 700 else math.inf


def text_windows(model: Any, tokenizer: Any, file: Path, *, tokens: int = 20_000) -> list[Tensor]:
    """The beginning of a text file as windows of token ids; raises DataError if there is too little."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the held-out text {file} cannot be read as UTF-8: {error}") from error
    ids = tokenizer(text[: tokens * 12], return_tensors="pt", verbose=False)["input_ids"][:, :tokens]
    size = min(PERPLEXITY_TOKENS, context_length(model))
    windows = [window for window in ids.split(size, dim=1) if window.shape[1] > 1]
    if not windows:
        raise DataError(f"the held-out text {file} has fewer than two tokens: give a longer one")
    return windows


def weight_growth(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float:
    """The largest ‖W'‖ / ‖W‖ (Frobenius, in fp64) of the tensors in `after`; 1 if there is none."""
    return max((growth(before[name], tensor) for name, tensor in after.items()), default=1.0)
