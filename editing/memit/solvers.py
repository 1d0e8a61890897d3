"""How the update of one layer follows from its keys and residuals; MEMIT's relatives differ in this alone.

`LeastSquares` is Eqn. 14.  Editors that reuse MEMIT's δs and keys bring a solver of their own
(`editing/baselines`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from editing.memit.keys import Collector
from editing.memit.solve import keeps_factor, prefers_woodbury, solve, solve_few
from editing.memit.statistics import Moments
from editing.model.devices import device_of, kind_of
from editing.progress import Progress, silent


@dataclass(frozen=True)
class Columns:
    """The keys and residuals of one layer with the current weights, collected when they are asked for."""

    collected: Collector
    layer: int
    share: float
    """The share of the remaining residual that this layer takes."""
    first: bool
    """Whether the layer is the first of R."""
    kept: Tensor | None = None
    """[m, d_k] keys whose residual is zero."""
    progress: Progress = silent

    @property
    def size(self) -> tuple[int, int, int]:
        """(d_k, d, n) of K [d_k, n] and R [d, n]."""
        parts = self.collected.parts
        kept = 0 if self.kept is None else len(self.kept)
        return parts.key_width(self.layer), parts.width, self.collected.count + kept

    @property
    def device(self) -> torch.device:
        """Where they are: on the layer's device."""
        return device_of(self.collected.parts.blocks[self.layer])

    def sums(self) -> tuple[Tensor, Tensor]:
        """(K Kᵀ [d_k, d_k], K Rᵀ [d_k, d]) in fp64; K is never held."""
        normal, cross = self.collected.sums(self.layer, self.share, first=self.first, progress=self.progress)
        if self.kept is not None:
            normal.add_(self.kept.T @ self.kept)
        return normal, cross

    def stacked(self) -> tuple[Tensor, Tensor]:
        """(Kᵀ [n, d_k], Rᵀ [n, d]) in fp64."""
        keys, residuals = self.collected.stacked(
            self.layer, self.share, first=self.first, progress=self.progress
        )
        if self.kept is None:
            return keys, residuals
        return torch.cat([keys, self.kept]), torch.cat(
            [residuals, residuals.new_zeros(len(self.kept), residuals.shape[1])]
        )


class Solver(Protocol):
    """Computes the update of a layer."""

    def update(self, layer: int, columns: Columns) -> tuple[Tensor, float]:
        """(Δᵀ [d_k, d] in fp64, what was added to the diagonal of the layer's system).

        Raises NumericalError if the system has no solution.
        """


@dataclass(frozen=True)
class LeastSquares:
    """Δ = R Kᵀ (λ E[k kᵀ] + K Kᵀ)⁻¹ (14)."""

    moments: Moments
    lam: float
    woodbury: bool | None = None
    """Which form of the solve is used; None: the one that counts fewer operations."""

    def update(self, layer: int, columns: Columns) -> tuple[Tensor, float]:
        size = columns.size
        if prefers_woodbury(*size) if self.woodbury is None else self.woodbury:
            keeps = keeps_factor(*size, kind_of(columns.device))
            factor, ridge = self.moments.factor(layer, store=keeps)
            keys, residuals = columns.stacked()
            return solve_few(factor.to(keys.device), self.lam, keys, residuals), self.lam * ridge
        normal, cross = columns.sums()
        return solve(self.moments.load(layer), self.lam, normal, cross)
