"""Forward passes for short questions: batches of similar length, and their continuation token by token.

Rows are padded on the right.  In a causal model no token attends to those on its right, so a pass over
whole texts needs neither a mask nor positions; only a batch that is *continued* needs both, since the
next token then comes after the padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from torch import Tensor

from editing.model.continuing import FromCache, FromWhole, logits_from
from editing.model.devices import head_device, input_device, kind_of
from editing.model.memory import free_bytes, halving
from editing.model.passes import Ids, padded
from editing.model.prefix_cache import runs_suffixes

__all__ = ["Continuation", "Ids", "for_each_batch", "target_logits"]

T = TypeVar("T")

TOKENS = {"cpu": 8_192, "cuda": 65_536}
"""Number of tokens in a batch."""
STEP = 16
"""Padding that costs less than one more pass: a pass over a few rows takes as long as reading all weights does."""
LOGIT_BYTES = 12
"""Bytes per logit: once in the model's dtype, and twice in fp32 (itself and its log-probability)."""


def for_each_batch(
    model: Any,
    items: Sequence[T],
    length: Callable[[T], int],
    run: Callable[[Sequence[T]], None],
    *,
    read: Callable[[T], int] = lambda _: 1,
    extra: int = 0,
) -> None:
    """Call `run` on batches of `items` of similar `length` (plus `extra` tokens to come), shortest first.

    `read` gives the number of positions at which an item's logits are read.  A batch that runs out of memory
    is halved; raises OutOfMemory if a single item does not fit.
    """
    ordered = sorted(items, key=lambda item: (length(item), read(item)))
    for batch in _batches(model, ordered, length, read, extra):
        halving(batch, run)


def _batches(
    model: Any, items: Sequence[T], length: Callable[[T], int], read: Callable[[T], int], extra: int
) -> Iterator[Sequence[T]]:
    """Consecutive `items` within a budget of tokens and of logits, the longest at most 1.5 times the first.

    Longer ones follow if their padding costs less than the passes of a batch of their own, `extra` + 1.
    """
    tokens = TOKENS[kind_of(input_device(model))]
    vocabulary = int(model.config.get_text_config().vocab_size)
    logits = free_bytes(head_device(model)) // 4 // (vocabulary * LOGIT_BYTES)
    start, widest = 0, 0
    for index, item in enumerate(items):
        rows = index - start + 1
        spread = length(item) - length(items[start])
        width = max(widest, read(item) + spread)
        full = rows * (length(item) + extra) > tokens or rows * width > logits
        uneven = length(item) > 1.5 * length(items[start]) + 4 and rows * spread > STEP * (extra + 1)
        if index > start and (full or uneven):
            yield items[start:index]
            start, width = index, read(item)
        widest = width
    if items:
        yield items[start:]


def target_logits(model: Any, rows: Sequence[Ids], starts: Sequence[int]) -> Iterator[Tensor]:
    """For every row, the logits that predict its tokens from `starts` on: (len(row) − start, V)."""
    ids, _ = padded(rows, input_device(model))
    first = min(starts) - 1
    logits = logits_from(model, ids, first, use_cache=False)  # (B, T - first, V)
    for index, (row, start) in enumerate(zip(rows, starts, strict=True)):
        yield logits[index, start - 1 - first : len(row) - 1 - first]


class Continuation:
    """A batch of prompts in progress: `logits` (B, V) predict each row's next token."""

    def __init__(self, model: Any, prompts: Sequence[Ids]) -> None:
        self._way = (FromCache if runs_suffixes(model) else FromWhole)(model, prompts)

    @property
    def logits(self) -> Tensor:
        """(B, V), of each row's last token."""
        return self._way.logits

    def append(self, tokens: Tensor) -> None:
        """Append `tokens` (B,), one per row."""
        self._way.append(tokens)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with `rows` only, which are numbered from 0 in their order."""
        self._way.keep(rows)
