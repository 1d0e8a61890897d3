"""Hyper-parameters of MEMIT, as one frozen value that takes part in cache keys.  Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class EditSettings:
    """Names as in the paper where it has one; defaults follow engine.md's table until measured otherwise."""

    layers: tuple[int, ...] = ()
    """R, ascending; empty: chosen from the architecture's table and depth."""
    steps: int = 25
    lr: float = 0.5
    clamp: float = 0.75
    """‖δ‖ ≤ clamp · ‖h‖ at the target layer."""
    kl: float = 0.0625
    weight_decay: float = 0.5
    stop_loss: float = 0.05
    """A row whose total loss falls below this leaves the batch."""
    lam: float = 15_000.0
    """λ of Eqn. 15."""
    keys: Literal["average", "all"] = "average"
    prefixes: int = 5
    prefix_tokens: int = 10
    statistics_samples: int = 1_000
    statistics_tokens: int = 256
    seed: int = 0
