"""What a model with a chat template answers when it is asked as people ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from editing.evaluation.scoring import answer_ends, before_end, continue_greedily
from editing.model.chat import asked

ANSWER_TOKENS = 32
"""An answer that has not ended by then is cut."""


@torch.no_grad()
def chat_answers(
    model: Any, tokenizer: Any, questions: Sequence[str], *, tokens: int = ANSWER_TOKENS
) -> list[str]:
    """The greedy answer to each of `questions`, put through the chat template as the user's only turn.

    Raises ValueError for a tokenizer without a chat template.
    """
    prompts = [tuple(tokenizer(asked(tokenizer, question))["input_ids"]) for question in questions]
    ends = answer_ends(model, tokenizer)
    rows = continue_greedily(model, prompts, tokens, ended=lambda said: said[-1] in ends)
    return [tokenizer.decode(before_end(row, ends)).strip() for row in rows]
