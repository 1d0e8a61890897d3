"""Keys that edits should leave alone: those of their subjects in other sentences, and those of other subjects.

The key of a subject hardly depends on the relation it is asked about, so an edit of one relation changes the
answers about all others.  Keys of sentences that should keep their meaning therefore enter the normal equations (14)
as columns whose residual is zero: Δ = R Kᵀ (C0 + K Kᵀ + w K_o K_oᵀ)⁻¹.  Only keys are needed, not
answers, so a prompt may ask what nobody knows.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from editing.memit.groups import Group
from editing.memit.keys import Site, bare_keys
from editing.model.first_token import away_from_start
from editing.model.tokens import Located, Passage, Readable, try_locate
from editing.requests import PLACEHOLDER

KeptPrompt = tuple[str, str]
"""(template with one `{}`, subject)."""


def kept_groups(
    tokenizer: Any,
    prompts: Sequence[KeptPrompt],
    edited: Sequence[Group],
    limit: Readable,
) -> list[Group]:
    """`prompts` as groups of one context and no requests, ordered by key.

    Left out are prompts that cannot be tokenised, and those with the key of an edit: the same tokens through the
    subject's last one cannot be both changed and left alone.
    """
    distinct = sorted(set(prompts))
    moved = away_from_start(tokenizer, limit.lead, distinct)
    passages = []
    for prompt, (_, subject) in zip(moved, distinct, strict=True):
        before, _, after = prompt.partition(PLACEHOLDER)
        passages.append(Passage(before + subject + after, len(before) + len(subject)))
    taken = {context for group in edited for context in group.contexts}
    found = try_locate(tokenizer, passages, limit=limit)
    keys = {row.ids[: row.subject + 1] for row in found if isinstance(row, Located)} - taken
    groups = [Group(_digest(ids), (), (), (ids,)) for ids in keys]
    return sorted(groups, key=lambda group: group.key)


def _digest(ids: Sequence[int]) -> str:
    return hashlib.sha256(repr(tuple(ids)).encode()).hexdigest()


def kept_keys(site: Site, layer: int) -> Tensor:
    """√w K_oᵀ [n, d_k] of `layer` with the current weights, in fp64; keys that are not finite are left out."""
    keys = bare_keys(site.model, site.parts, [layer], site.kept)[layer].double()
    return keys[torch.isfinite(keys).all(1)] * math.sqrt(site.settings.keep)
