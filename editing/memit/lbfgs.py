"""L-BFGS for a batch of δs, each group on its own: a third of Adam's evaluations for the same targets.

Two-loop recursion over the last `MEMORY` pairs (Nocedal and Wright, *Numerical Optimization*, algorithm 7.4), with
a cap on the step instead of a line search, so that every evaluation serves all groups of the batch at once.  The cap
grows if the loss fell; otherwise the group continues from the best δ so far with a shorter step.  The result is the
best δ that was evaluated; when the clamp is active, later ones may be worse.

All state is per group, so the batch affects a group's steps only through rounding in its loss and gradient.
Curvature pairs amplify rounding more than Adam does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from editing.memit.clamping import clamped
from editing.settings import EditSettings

MEMORY = 8
FIRST_CAP, LARGEST_CAP = 0.3, 1.0
"""Initial and largest cap on the step length, relative to ‖h‖."""
GROW, SHRINK = 1.5, 0.4
"""Factors for the cap: if the loss fell, and if it did not."""


class Lbfgs:
    """An `UpdateRule` whose result is the best δ evaluated."""

    def __init__(self, norm: Tensor, width: int, settings: EditSettings) -> None:
        """`norm` is ‖h‖ [G], which the clamp and the caps are relative to."""
        self.norm, self.limit = norm, settings.clamp * norm
        self.cap = FIRST_CAP * norm
        self.best = norm.new_zeros(len(norm), width)
        self.value = torch.full_like(norm, torch.inf)
        self.slope = torch.zeros_like(self.best)
        self.moves = norm.new_zeros(MEMORY, len(norm), width)  # s of each pair, the newest first
        self.bends = torch.zeros_like(self.moves)  # y
        self.weight = norm.new_zeros(MEMORY, len(norm))  # 1 / sᵀy; 0 where there is no pair
        self.updates = 0

    @staticmethod
    def evaluations(steps: int) -> int:
        """Every one of the `steps` evaluates a loss and its gradient."""
        return steps

    def accepts_failure(self) -> bool:
        """A loss that is not finite means that the step was too long, if there is a δ to return to."""
        return self.updates > 0

    def update(self, delta: Tensor, loss: Tensor, gradient: Tensor) -> Tensor:
        """The next δ to evaluate, [G, d], given the loss and gradient of `delta`."""
        better = (loss < self.value) & torch.isfinite(gradient).all(dim=1)
        if self.updates:
            self._remember(delta, gradient)
            length = (delta - self.best).norm(dim=1)
            grown = (self.cap * GROW).minimum(LARGEST_CAP * self.norm)
            self.cap = torch.where(better, grown, SHRINK * self.cap.minimum(length))
        self.best = torch.where(better[:, None], delta, self.best)
        self.slope = torch.where(better[:, None], gradient, self.slope)
        self.value = torch.where(better, loss, self.value)
        self.updates += 1
        return clamped(self.best + clamped(self._direction(), self.cap), self.limit)

    def _remember(self, delta: Tensor, gradient: Tensor) -> None:
        """Add the pair of every group whose curvature is positive, including steps that were too long."""
        move, bend = delta - self.best, gradient - self.slope
        curvature = (move * bend).sum(1)
        new = ((curvature > 0) & torch.isfinite(bend).all(dim=1)).nonzero()[:, 0]
        for pairs, newest in ((self.moves, move), (self.bends, bend), (self.weight, 1 / curvature)):
            pairs[:, new] = torch.cat([newest[None, new], pairs[:-1, new]])

    def _direction(self) -> Tensor:
        """−H g at the best δ by the two-loop recursion; without pairs, Polyak's step −g · f / ‖g‖²: [G, d]."""
        steepest = -self.slope * _ratio(self.value, self.slope.square().sum(1))[:, None]
        left, shares = self.slope, []
        for move, bend, weight in zip(self.moves, self.bends, self.weight, strict=True):
            shares.append(weight * (move * left).sum(1))
            left = left - shares[-1][:, None] * bend
        newest = (self.moves[0] * self.bends[0]).sum(1)
        left = left * _ratio(newest, self.bends[0].square().sum(1))[:, None]
        for move, bend, weight, share in reversed(
            [*zip(self.moves, self.bends, self.weight, shares, strict=True)]
        ):
            left = left + move * (share - weight * (bend * left).sum(1))[:, None]
        downhill = (self.weight[0] > 0) & ((left * self.slope).sum(1) > 0)
        return torch.where(downhill[:, None], -left, steepest)

    def restart(self) -> Tensor:
        """The best δ so far, [G, d], where another loss is evaluated next.

        Losses of the two cannot be compared.  The pairs stay: with positive curvature they scale a descent direction of
        any loss, and these two have most of their terms in common.
        """
        self.value = torch.full_like(self.norm, torch.inf)
        self.cap = FIRST_CAP * self.norm
        self.updates = 0
        return self.best

    def result(self, delta: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
        """The best δ that was evaluated, and its loss."""
        return self.best, self.value

    def keep(self, kept: Tensor) -> None:
        """Keep only the groups `kept`."""
        for name in ("norm", "limit", "cap", "best", "value", "slope"):
            setattr(self, name, getattr(self, name)[kept])
        for name in ("moves", "bends", "weight"):
            setattr(self, name, getattr(self, name)[:, kept])


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """`above` / `below`, and 0 where `below` is 0."""
    return torch.where(below > 0, above / below, torch.zeros_like(above))
