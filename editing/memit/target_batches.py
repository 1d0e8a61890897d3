"""The constants of an optimisation: states before the subject's last token, and below layer L.

The texts of a batch are cut at the subject's last token.  Rows are put into buckets of one context prefix and
similar length, so that there is little padding and the prefix is run, and kept, once per bucket.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from editing.memit.groups import Group, LossTerm
from editing.model.architectures import Parts
from editing.model.devices import head_device, picked
from editing.model.hooks import on_output
from editing.model.passes import Rows, padded, prepare, read
from editing.model.prefix_cache import runs_suffixes
from editing.model.text_trees import attention_span

Past = list[tuple[Tensor, Tensor]]

FEW = 48
"""A context with fewer rows than this gets no separate bucket: reading the weights would dominate."""
ENOUGH = 32
"""A bucket with this many rows is closed if the next row is longer by half."""


@dataclass(frozen=True, slots=True)
class TermRow:
    """One term of one group, in a bucket."""

    group: int
    term: LossTerm
    weight: float
    """The term's weight in its group's loss."""

    @property
    def ids(self) -> tuple[int, ...]:
        """The tokens to run: the last token of a target predicts nothing that is needed."""
        ids = self.term.text.ids
        return ids if self.term.kl else ids[:-1]

    @property
    def suffix(self) -> int:
        """How many of them are run in every step."""
        return len(self.ids) - self.term.text.subject


def buckets(groups: Sequence[Group], tokens: int, *, prefixed: bool | None = None) -> Iterator[list[TermRow]]:
    """The rows of `groups` in buckets of at most `tokens` suffix tokens, padding included.

    `prefixed`: only those with a context prefix, or only those without one; None: all.
    """
    classes: dict[int, list[TermRow]] = {}
    for index, group in enumerate(groups):
        facts = sum(not term.kl for term in group.terms)
        for term in group.terms:
            if prefixed in (None, term.prefixed):
                row = TermRow(index, term, 1.0 if term.kl else 1.0 / facts)
                classes.setdefault(term.context, []).append(row)
    if min(map(len, classes.values())) < FEW:
        classes = {0: [row for rows in classes.values() for row in rows]}
    for rows in classes.values():
        rows.sort(key=lambda row: (row.suffix, row.term.text.subject))
        start = 0
        for end in range(1, len(rows) + 1):
            # Cut where the next row no longer fits, or would make all before it longer by half.
            grown = end < len(rows) and rows[end].suffix > 1.5 * rows[start].suffix and end - start >= ENOUGH
            if end == len(rows) or grown or (end + 1 - start) * rows[end].suffix > tokens:
                yield rows[start:end]
                start = end


@dataclass
class Bucket:
    """B rows from the subject's last token on, with everything they need from the tokens before.

    What the embedding reads is on its device, `hidden` and what concerns δ on that of layer L, keys and values on those
    of their layers, and what concerns logits on the head's.
    """

    ids: Tensor
    """[B, T]"""
    hidden: Tensor
    """[B, T, d] output of layer L without δ."""
    past_mask: Tensor
    """[B, P] 0 where a row's own past is padded, on its left."""
    positions: Tensor
    """[B, T]"""
    group: Tensor
    """[B] index of the row's group."""
    shared: Past
    """Keys and values [1, heads, S, d_head] of each layer above L, of the tokens all rows begin with."""
    past: Past
    """The same, [B, heads, P, d_head], for the tokens between those and the subject's last."""
    bare: Tensor
    """[B] whether a row is a fact's bare prompt."""
    row: Tensor
    """[n] row of each logit that is read"""
    position: Tensor
    """[n] its position"""
    weight: Tensor
    """[n] its weight in the loss"""
    label: Tensor
    """[n] the token to predict; −1: the distribution should not change"""
    unedited: Tensor | None = None
    """[entries with label −1, V] log-probabilities without δ, once known."""
    told: Tensor = field(init=False)
    """Indices of the logits whose token is to be predicted."""
    kept: Tensor = field(init=False)
    """Indices of those whose distribution should not change."""
    subject: Tensor | None = None
    """[B] where the subject ends, in rows that are run whole: `ids` then has all their tokens, and `hidden` [B, 1, d]
    only the state at the subject."""

    def __post_init__(self) -> None:
        # Once a bucket, not once a step: a GPU would have to be waited for.
        self.told = (self.label >= 0).nonzero()[:, 0]
        self.kept = (self.label < 0).nonzero()[:, 0]

    def select(self, staying: Tensor, renumbered: Tensor) -> Bucket:
        """The rows of the groups that remain ([G] bool), with the groups renumbered."""
        rows = staying[self.group].nonzero()[:, 0]
        reads = staying[picked(self.group, self.row)].to(self.row.device)
        row_number = torch.full_like(self.group, -1)
        row_number[rows] = torch.arange(len(rows), device=rows.device)
        return Bucket(
            ids=picked(self.ids, rows),
            hidden=self.hidden[rows],
            past_mask=picked(self.past_mask, rows),
            positions=picked(self.positions, rows),
            group=renumbered[self.group[rows]],
            shared=self.shared,
            bare=self.bare[rows],
            past=[(picked(keys, rows), picked(values, rows)) for keys, values in self.past],
            row=picked(row_number, self.row[reads]).to(self.row.device),
            position=self.position[reads],
            weight=self.weight[reads],
            label=self.label[reads],
            unedited=None if self.unedited is None else picked(self.unedited, reads[self.label < 0]),
            subject=None if self.subject is None else self.subject[rows],
        )


@torch.no_grad()
def collect(model: Any, parts: Parts, rows: Sequence[TermRow], layer: int, dtype: torch.dtype) -> Bucket:
    """Run the rows once, whole, and keep what every step needs."""
    if not runs_suffixes(model):
        return _whole(model, parts, rows, layer, dtype)
    below = min(row.term.text.subject for row in rows)
    if attention_span(model) < max(len(row.ids) for row in rows):
        below = 0  # padding between the shared and a row's own past would count towards the window
    batch = prepare(model, [row.ids for row in rows], below=below)
    seen: list[Tensor] = []
    with on_output(parts.blocks[layer], seen.append):
        read(model, batch)
    return _cut(batch, seen[0], rows, layer, _Reads.of(rows, dtype, head_device(model)))


def _whole(model: Any, parts: Parts, rows: Sequence[TermRow], layer: int, dtype: torch.dtype) -> Bucket:
    """The bucket of a model that cannot continue from keys and values: its rows are run from their first token."""
    batch = prepare(model, [row.ids for row in rows], below=0, whole=True)
    seen: list[Tensor] = []
    with on_output(parts.blocks[layer], seen.append):
        read(model, batch)
    device = seen[0].device
    subject = torch.tensor([row.term.text.subject for row in rows], device=device)
    reads = _Reads.of(rows, dtype, head_device(model))
    return Bucket(
        ids=batch.ids,
        hidden=seen[0][torch.arange(len(rows), device=device), subject][:, None],
        past_mask=batch.ids.new_zeros(len(rows), 0),
        positions=batch.positions,
        group=torch.tensor([row.group for row in rows], device=device),
        shared=[],
        past=[],
        bare=torch.tensor([row.term.context == 0 for row in rows], device=device),
        row=reads.row,
        position=reads.position + subject.to(reads.row.device)[reads.row],
        weight=reads.weight,
        label=reads.label,
        subject=subject,
    )


def _cut(batch: Rows, hidden: Tensor, rows: Sequence[TermRow], layer: int, reads: _Reads) -> Bucket:
    """Cut a batch that was run whole at each row's subject: the tokens before it become the past."""
    device, entry = hidden.device, batch.ids.device
    subject = torch.tensor([row.term.text.subject for row in rows], device=device)
    length = torch.tensor([len(row.ids) for row in rows], device=device)
    ids, _ = padded([row.ids[row.term.text.subject :] for row in rows], entry)
    before = int(subject.max()) - batch.shared
    # Column j of the past holds token S + j − (P − own): padded on the left, so that the past ends
    # where the suffix begins and sliding windows count right.
    column = torch.arange(before, device=device)[None] - (before - (subject - batch.shared))[:, None]
    shared, past = _past(batch, (column.clamp(min=0) + batch.shared)[:, None, :, None], layer)
    steps = torch.arange(ids.shape[1], device=device)[None]
    inside = (subject[:, None] - batch.shared + steps).clamp(max=hidden.shape[1] - 1)
    return Bucket(
        ids=ids,
        hidden=hidden.gather(1, inside[..., None].expand(-1, -1, hidden.shape[2])),
        past_mask=(column >= 0).long().to(entry),
        positions=(subject[:, None] + steps).minimum(length[:, None] - 1).to(entry),
        group=torch.tensor([row.group for row in rows], device=device),
        shared=shared,
        past=past,
        bare=torch.tensor([row.term.context == 0 for row in rows], device=device),
        row=reads.row,
        position=reads.position,
        weight=reads.weight,
        label=reads.label,
    )


def _past(batch: Rows, source: Tensor, layer: int) -> tuple[Past, Past]:
    """(shared, past) of a bucket: keys and values of each layer above `layer`, on that layer's device.

    `source` [B, 1, P, 1] is the token of every column of the past.
    """
    shared: Past = []
    past: Past = []
    for cached in batch.cache.layers[layer + 1 :]:
        own = [
            states.gather(2, source.to(states.device).expand(-1, states.shape[1], -1, states.shape[3]))
            for states in (cached.keys, cached.values)
        ]
        past.append((own[0], own[1]))
        shared.append(
            (cached.keys[:1, :, : batch.shared].clone(), cached.values[:1, :, : batch.shared].clone())
        )
    return shared, past


@dataclass(frozen=True)
class _Reads:
    """Where logits are read, as in `Bucket`, on the head's device."""

    row: Tensor
    position: Tensor
    weight: Tensor
    label: Tensor

    @classmethod
    def of(cls, rows: Sequence[TermRow], dtype: torch.dtype, device: torch.device) -> _Reads:
        row, position, weight, label = _reads(rows)
        return cls(
            torch.tensor(row, device=device),
            torch.tensor(position, device=device),
            torch.tensor(weight, device=device, dtype=dtype),
            torch.tensor(label, device=device),
        )


def _reads(rows: Sequence[TermRow]) -> tuple[list[int], list[int], list[float], list[int]]:
    """(row, position, weight, label) of every logit that is read; the tokens of a target weigh the same."""
    row: list[int] = []
    position: list[int] = []
    weight: list[float] = []
    label: list[int] = []
    for index, item in enumerate(rows):
        text = item.term.text
        if item.term.kl:
            row.append(index)
            position.append(len(text.ids) - 1 - text.subject)
            weight.append(item.weight)
            label.append(-1)
        else:
            length = len(text.ids) - text.target
            row += [index] * length
            position += [at - 1 - text.subject for at in range(text.target, len(text.ids))]
            weight += [item.weight / length] * length
            label += text.ids[text.target :]
    return row, position, weight, label
