"""Limiting ‖δ‖ to a multiple of ‖h‖, as in the released implementation."""

from __future__ import annotations

import torch
from torch import Tensor


def clamped(delta: Tensor, limit: Tensor) -> Tensor:
    """`delta` [G, d], each row scaled down to the norm `limit` [G] where it is longer."""
    length = delta.norm(dim=1)
    return delta * torch.where(length > limit, limit / length, torch.ones_like(length))[:, None]
