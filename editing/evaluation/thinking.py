"""Models that think before they answer: only what follows the thought is the answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from editing.evaluation.scoring import answer_ends, continue_greedily, encode_prompts
from editing.model.passes import Ids
from editing.progress import Tick, uncounted

OPENS, CLOSES = "<think>", "</think>"
"""What a thought is enclosed in by the templates that have a switch for it (Qwen3, SmolLM3, DeepSeek-R1, …)."""
THOUGHT_TOKENS = 512
"""A thought that has not ended by then has no answer."""
_BEGINNING = 8
"""Number of tokens by which a thought has begun."""


def after_thought(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    tokens: int = THOUGHT_TOKENS,
    tick: Tick = uncounted,
) -> list[Ids | None]:
    """Each prompt with the model's greedy thought after it, up to where the answer begins.

    A prompt after which the model does not think is returned as it is; None stands for a thought that does not end.
    """
    encoded = encode_prompts(tokenizer, prompts)
    ends = answer_ends(model, tokenizer) - _marks(tokenizer)
    found: dict[Ids, Ids | None] = {}
    for opened in (False, True):
        some = [
            ids
            for prompt, ids in zip(prompts, encoded, strict=True)
            if prompt.rstrip().endswith(OPENS) == opened
        ]
        over = partial(_over, tokenizer, ends, opened)
        rows = continue_greedily(model, some, tokens, ended=over, tick=tick)
        found |= {
            prompt: _continued(tokenizer, prompt, row, opened) for prompt, row in zip(some, rows, strict=True)
        }
    return [found[ids] for ids in encoded]


def _over(tokenizer: Any, ends: Collection[int], opened: bool, ids: Ids) -> bool:
    """Whether a thought has ended, or has not begun where it should have."""
    if ids[-1] in ends or CLOSES in tokenizer.decode(ids[-_BEGINNING:]):
        return True
    return not opened and len(ids) == _BEGINNING and OPENS not in tokenizer.decode(ids)


def _continued(tokenizer: Any, prompt: Ids, row: Ids, opened: bool) -> Ids | None:
    """`prompt` with the thought that `row` begins with; see `after_thought`."""
    if not opened and OPENS not in tokenizer.decode(row[:_BEGINNING]):
        return prompt
    closed = (
        n for n in range(1, len(row) + 1) if CLOSES in tokenizer.decode(row[max(0, n - _BEGINNING) : n])
    )
    length = next(closed, None)
    return None if length is None else prompt + row[:length]


def _marks(tokenizer: Any) -> frozenset[int]:
    """Ids of the tokens that enclose a thought; in some tokenizers they are special, but do not end an answer."""
    tokens = tokenizer.added_tokens_decoder.items()
    return frozenset(id for id, token in tokens if token.content in (OPENS, CLOSES))
