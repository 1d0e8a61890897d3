"""Sentences packed into rows of one length, and who may look at whom in them.

The masks are what makes a small model's facts editable.  Left alone, a small model lets the last token
of the prompt gather the name by itself and looks the fact up there, where MEMIT does not write.  In most
rows of the training

- below layer `early`, tokens after a subject cannot see it at all, and from there on they see only its
  *last* token: whatever is known of a name has to be looked up at that token, in the layers below `early`;
- in some rows a subject's tokens see only themselves, so that what is looked up there depends on the
  name and little on the wording around it: an edit made in one wording then shows in the others.

The remaining rows are read as usual, so the finished model needs no masks.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.testbed.corpus import Line

NO_SUBJECT = -1


@dataclass(frozen=True, slots=True)
class Rows:
    """B rows of T + 1 tokens; padding has weight 0."""

    ids: Tensor
    """[B, T + 1]"""
    weight: Tensor
    """[B, T + 1] weight of each token's loss."""
    subject: Tensor
    """[B, T + 1] which of the row's subjects the token belongs to, or NO_SUBJECT."""
    last: Tensor
    """[B, T + 1] whether it is that subject's last token."""


def pack(
    lines: Sequence[Line], lengths: Sequence[int], tokens: int, other: float, rng: random.Random
) -> Iterator[Rows]:
    """Batches of about `tokens` tokens, each with rows of one of `lengths`, until all lines are used.

    A row starts with a whole sentence and is filled up to its length; a last sentence is cut only
    behind its object.  Object tokens weigh 1, all others `other`.
    """
    at = 0
    while at < len(lines):
        length = rng.choice(lengths) + 1
        rows = []
        while at < len(lines) and len(rows) < tokens // length:
            start = at
            used = 0
            while at < len(lines) and (used == 0 or used + lines[at].object[1] <= length) and used < length:
                used += len(lines[at].ids)
                at += 1
            rows.append(_row(lines[start:at], length, other))
        yield Rows(*(torch.tensor(column) for column in zip(*rows, strict=True)))


def _row(
    lines: Sequence[Line], length: int, other: float
) -> tuple[list[int], list[float], list[int], list[bool]]:
    ids: list[int] = []
    weight: list[float] = []
    subject: list[int] = []
    last: list[bool] = []
    for number, line in enumerate(lines):
        for index, token in enumerate(line.ids):
            named = line.subject[0] <= index < line.subject[1]
            ids.append(token)
            weight.append(1.0 if line.object[0] <= index < line.object[1] else other)
            subject.append(number if named else NO_SUBJECT)
            last.append(named and index == line.subject[1] - 1)
    pad = max(0, length - len(ids))
    return (
        (ids + [0] * pad)[:length],
        (weight + [0.0] * pad)[:length],
        (subject + [NO_SUBJECT] * pad)[:length],
        (last + [False] * pad)[:length],
    )


def masks(
    subject: Tensor,
    last: Tensor,
    *,
    early: int,
    layers: int,
    masked: float,
    isolated: float,
    generator: torch.Generator,
) -> list[Tensor]:
    """For each layer [B, 1, T, T], True where the row's token may look at the column's."""
    count, length = subject.shape
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    named = (subject != NO_SUBJECT)[:, None, :]
    same = subject[:, :, None] == subject[:, None, :]
    masked_rows = (torch.rand(count, generator=generator) < masked)[:, None, None]
    isolated_rows = (torch.rand(count, generator=generator) < isolated)[:, None, None]
    outside = named & ~same & masked_rows
    beside = named.transpose(1, 2) & ~same & isolated_rows
    below = causal & ~outside & ~beside
    above = causal & ~(outside & ~last[:, None, :]) & ~beside
    return [(below if layer < early else above)[:, None] for layer in range(layers)]
