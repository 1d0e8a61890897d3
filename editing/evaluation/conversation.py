"""What a model with a chat template answers when it is asked as people ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from editing.evaluation.free_answers import ANSWER_TOKENS
from editing.evaluation.scoring import answer_ends, before_end, continue_greedily
from editing.model.chat import asked
from editing.progress import Tick, uncounted


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question, put through the chat template, and the answers before and after an edit."""

    id: str
    question: str
    before: str
    after: str


@torch.inference_mode()
def chat_answers(
    model: Any,
    tokenizer: Any,
    questions: Sequence[str],
    *,
    tokens: int = ANSWER_TOKENS,
    tick: Tick = uncounted,
) -> list[str]:
    """The greedy answer to each of `questions`, put through the chat template as the user's only turn.

    Raises ValueError for a tokenizer without a chat template.
    """
    prompts = [tuple(tokenizer(asked(tokenizer, question))["input_ids"]) for question in questions]
    ends = answer_ends(model, tokenizer)
    rows = continue_greedily(model, prompts, tokens, ended=lambda said: said[-1] in ends, tick=tick)
    return [tokenizer.decode(before_end(row, ends)).strip() for row in rows]
