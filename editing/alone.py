"""Each δ by itself: does it state its fact when it is added to the unedited model and nothing else is?

A fact whose δ works alone but whose edit fails fails *in company*: optimising it again would not help.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from editing.architectures import locate_parts
from editing.build import Built
from editing.hooks import injected
from editing.requests import EditRequest
from editing.scoring import Tick, equal_lengths, run_or_halve, silent, sole_argmax
from editing.tokens import Located, locate, passage


@torch.inference_mode()
def stated_alone(
    model: Any, tokenizer: Any, requests: Sequence[EditRequest], built: Built, *, tick: Tick = silent
) -> dict[str, bool]:
    """Request id → whether its target is the strict argmax with its group's δ injected (Eqn. 16)."""
    block = locate_parts(model).blocks[built.layer]
    texts = dict(zip(requests, locate(tokenizer, [passage(request) for request in requests]), strict=True))
    stated: dict[str, bool] = {}

    def run(batch: Sequence[EditRequest]) -> None:
        rows = [texts[request] for request in batch]
        ids = torch.tensor([row.ids for row in rows], device=model.device)
        deltas = torch.stack([built.deltas[built.groups[request.id]].value for request in batch])
        positions = torch.tensor([row.subject for row in rows], device=model.device)
        width = max(len(row.ids) - row.target for row in rows)
        every = torch.arange(len(rows), device=model.device)
        with injected(block, every, positions, deltas.to(model.device)):
            logits = model(ids, use_cache=False, logits_to_keep=width + 1).logits[:, :-1]
        right = (sole_argmax(logits) == ids[:, -width:]).tolist()
        for request, row, hits in zip(batch, rows, right, strict=True):
            stated[request.id] = all(hits[-_length(row) :])
        tick(len(batch))

    for batch in equal_lengths(model, requests, lambda request: len(texts[request].ids)):
        run_or_halve(batch, run)
    return stated


def _length(row: Located) -> int:
    """Number of the target's tokens."""
    return len(row.ids) - row.target
