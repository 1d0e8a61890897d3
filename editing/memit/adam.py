"""Adam (Kingma and Ba, arXiv 1412.6980) for a batch of δs, as the paper's released implementation runs it."""

from __future__ import annotations

import torch
from torch import Tensor

from editing.memit.clamping import clamped
from editing.settings import EditSettings

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Adam:
    """An `UpdateRule` whose result is the last δ, even if its loss was not evaluated."""

    def __init__(self, norm: Tensor, width: int, settings: EditSettings) -> None:
        """`norm` is ‖h‖ [G], which the clamp is relative to."""
        self.norm, self.lr, self.clamp = norm, settings.lr, settings.clamp
        self.mean = norm.new_zeros(len(norm), width)
        self.square = torch.zeros_like(self.mean)
        self.updates = 0

    @staticmethod
    def evaluations(steps: int) -> int:
        """`steps` counted as in the released implementation: one update fewer than losses."""
        return steps - 1

    def accepts_failure(self) -> bool:
        """A loss that is not finite ends the optimisation of its group."""
        return False

    def update(self, delta: Tensor, loss: Tensor, gradient: Tensor) -> Tensor:
        """δ after one step for every group, with ‖δ‖ ≤ clamp · ‖h‖: [G, d]."""
        self.updates += 1
        self.mean.lerp_(gradient, 1 - BETAS[0])
        self.square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        correction = (1 - BETAS[1] ** self.updates) ** 0.5
        step = self.lr / (1 - BETAS[0] ** self.updates)
        moved = delta.addcdiv(self.mean, self.square.sqrt() / correction + EPSILON, value=-step)
        return clamped(moved, self.clamp * self.norm)

    def result(self, delta: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
        """The last δ, with the last loss that was evaluated: of the δ before the last update."""
        return delta, loss

    def keep(self, kept: Tensor) -> None:
        """Keep only the groups `kept`."""
        self.norm, self.mean, self.square = self.norm[kept], self.mean[kept], self.square[kept]
