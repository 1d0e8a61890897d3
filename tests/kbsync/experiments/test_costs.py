"""What an editor costs: its memory, and which editors are on the Pareto front."""

from __future__ import annotations

import torch

from kbsync.experiments.editors import best
from kbsync.experiments.memory import peak_memory
from kbsync.experiments.scores import Measured

MEBIBYTE = 2**20


def _filled() -> list[torch.Tensor]:
    """64 MiB in small pieces, which the allocator keeps when they are freed."""
    return [torch.ones(16 * 1024) for _ in range(1024)]


def test_memory_counts_although_earlier_work_has_freed_as_much() -> None:
    pieces = _filled()
    scattered = pieces[::32]
    del pieces
    with peak_memory(torch.device("cpu")) as peak:
        _filled()
    assert peak.bytes > 50 * MEBIBYTE
    assert len(scattered) == 32


def row(score: float, cost: float | None) -> dict[str, object]:
    return {"S": Measured(score, score, score), "cost": cost}


def test_the_front_has_what_none_beats_without_costing_more_and_nothing_that_scores_zero() -> None:
    rows = {
        "dear": row(0.9, 3.0),
        "cheap": row(0.5, 1.0),
        "beaten": row(0.5, 2.0),
        "useless": row(0.0, 0.1),
        "failed": {"S": None, "cost": None},
    }
    assert best(rows, "cost") == ["cheap", "dear"]
