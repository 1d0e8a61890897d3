"""Choosing which facts are asked about, where not all of them are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from editing.spec import FactSpec


def sampled(
    model: Any, tokenizer: Any, facts: Sequence[FactSpec], new: Sequence[FactSpec], limit: int, seed: int
) -> list[FactSpec]:
    """At most `limit` of `facts`: half with subjects closest to those of new facts, half at random.

    An edit first affects facts with similar keys.  Similarity is the cosine of mean input embeddings, which
    needs no forward pass.
    """
    if len(facts) <= limit:
        return list(facts)
    closest: set[str] = set()
    if new:
        near = _closeness(model, tokenizer, facts, new)
        order = sorted(zip(near, [fact.id for fact in facts], strict=True), reverse=True)
        closest = {id for _, id in order[: limit // 2]}
    rest = [fact for fact in facts if fact.id not in closest]
    others = {fact.id for fact in drawn(rest, limit - len(closest), seed)}
    return [fact for fact in facts if fact.id in closest or fact.id in others]


def _closeness(model: Any, tokenizer: Any, facts: Sequence[FactSpec], new: Sequence[FactSpec]) -> list[float]:
    theirs, ours = _embedded(model, tokenizer, facts), _embedded(model, tokenizer, new)
    chunks = torch.split(theirs, 4096)
    return [value for rows in chunks for value in (rows @ ours.T).amax(1).tolist()]


def _embedded(model: Any, tokenizer: Any, facts: Sequence[FactSpec]) -> Tensor:
    """Mean input embedding of every subject, normalised: (n, d)."""
    table = model.get_input_embeddings().weight
    rows = tokenizer([fact.subject for fact in facts], add_special_tokens=False)["input_ids"]
    means = [table[torch.tensor(row, device=table.device)].float().mean(0) for row in rows]
    return torch.nn.functional.normalize(torch.stack(means), dim=1)


def drawn(facts: Sequence[FactSpec], count: int, seed: int) -> list[FactSpec]:
    """`count` of `facts`, chosen independently of their order and of the other facts."""

    def lot(fact: FactSpec) -> bytes:
        return hashlib.sha256(f"{seed}\0{fact.id}".encode()).digest()

    return sorted(facts, key=lot)[:count]
