"""What a model with a chat template answers when it is asked as people ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from editing.evaluation.free_answers import ANSWER_TOKENS, free_answers
from editing.model.chat import asked
from editing.progress import Tick, uncounted


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question, put through the chat template, and the answers before and after an edit."""

    id: str
    question: str
    before: str
    after: str


def chat_answers(
    model: Any,
    tokenizer: Any,
    questions: Sequence[str],
    *,
    system: str = "",
    tokens: int = ANSWER_TOKENS,
    tick: Tick = uncounted,
) -> list[str]:
    """The free answer to each of `questions`, put through the chat template as the user's only turn.

    `system`: the system message before it; empty: none.

    Raises ValueError for a tokenizer without a chat template.
    """
    prompts = [asked(tokenizer, question, system=system) for question in questions]
    return free_answers(model, tokenizer, prompts, tokens=tokens, tick=tick)
