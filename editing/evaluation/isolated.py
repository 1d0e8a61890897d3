"""Testing each δ alone: does the unedited model state the fact when only this δ is added?

If a δ works alone but its edit fails, the cause is the other edits; optimising the δ again would not help.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from editing.editors.contract import EditResult
from editing.evaluation.scoring import scored
from editing.model.hooks import injected
from editing.model.inference import for_each_batch, target_logits
from editing.model.tokens import Located, locate, passage
from editing.progress import Tick, uncounted
from editing.requests import EditRequest


@torch.inference_mode()
def stated_alone(
    model: Any, tokenizer: Any, requests: Sequence[EditRequest], result: EditResult, *, tick: Tick = uncounted
) -> dict[str, bool]:
    """Request id → whether its target is the strict argmax with its group's δ injected (Eqn. 16).

    Empty if the editor has no δs to inject.
    """
    injection = result.injection
    if injection is None:
        return {}
    block = model.get_submodule(f"{injection.blocks}.{injection.layer}")
    texts = dict(zip(requests, locate(tokenizer, [passage(request) for request in requests]), strict=True))
    stated: dict[str, bool] = {}

    def run(batch: Sequence[EditRequest]) -> None:
        rows = [texts[request] for request in batch]
        deltas = torch.stack([injection.deltas[result.groups[request.id]] for request in batch])
        positions = torch.tensor([row.subject for row in rows])
        every = torch.arange(len(rows))
        with injected(block, every, positions, deltas):
            read = target_logits(model, [row.ids for row in rows], [row.target for row in rows])
            for request, row, logits in zip(batch, rows, read, strict=True):
                stated[request.id] = scored(logits, row.ids[row.target :]).strict
        tick(len(batch))

    for_each_batch(model, requests, lambda r: len(texts[r].ids), run, read=lambda r: _length(texts[r]))
    return stated


def _length(row: Located) -> int:
    """Number of the target's tokens."""
    return len(row.ids) - row.target
