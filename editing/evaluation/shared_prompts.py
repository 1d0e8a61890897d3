"""Scoring several targets after one prompt, for which the prompt is read once where it can be.

The distribution of the token after a prompt does not depend on what follows it (the models are causal), so a target of
one token needs no row of its own if another target of the same prompt has one.  On common knowledge, whose objects
are mostly of one token, this leaves half of the tokens to read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from editing.evaluation.scoring import Question, Score, score, scored
from editing.model.passes import Ids
from editing.progress import Tick, uncounted


def score_by_prompt(model: Any, questions: Sequence[Question], *, tick: Tick = uncounted) -> list[Score]:
    """As `scoring.score`, up to the rounding of other batches."""
    read, waiting = rows_to_read(questions)
    found: dict[Question, Score] = {}

    def observe(prompt: Ids, logits: Tensor) -> None:
        for question in waiting.pop(prompt, ()):
            found[question] = scored(logits[None], question.target)

    with torch.inference_mode():
        found |= zip(read, score(model, read, observe=observe, tick=tick), strict=True)
    return [found[question] for question in questions]


def rows_to_read(questions: Sequence[Question]) -> tuple[list[Question], dict[Ids, list[Question]]]:
    """(the questions that need a row of their own, prompt → those that are answered by such a row)."""
    by_prompt: dict[Ids, list[Question]] = defaultdict(list)
    for question in dict.fromkeys(questions):
        by_prompt[question.prompt].append(question)
    read, waiting = [], {}
    for prompt, asked in by_prompt.items():
        own = [question for question in asked if len(question.target) > 1] or asked[:1]
        read += own
        waiting[prompt] = [question for question in asked if question not in own]
    return read, waiting
