"""How the update of one layer follows from its keys and residuals; MEMIT's relatives differ in this alone.

`LeastSquares` is Eqn. 14.  Editors that reuse MEMIT's δs and keys bring a solver of their own
(`editing/baselines`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import torch
from torch import Tensor

from editing.memit.blocked import BlockedSystem, exceeds
from editing.memit.columns import ColumnSource
from editing.memit.solve import keeps_factor, prefers_woodbury, solve, solve_few
from editing.memit.statistics import Moments
from editing.model.devices import device_of, kind_of
from editing.model.memory import solve_bytes
from editing.progress import Progress, silent


@dataclass(frozen=True)
class Columns:
    """The keys and residuals of one layer with the current weights, collected when they are asked for."""

    collected: ColumnSource
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

    def in_file(self, path: Path) -> tuple[Tensor, Tensor]:
        """(Kᵀ [n, d_k] in the file `path`, K Rᵀ [d_k, d]) in fp64 on the CPU, without the kept keys."""
        return self.collected.in_file(self.layer, self.share, path, first=self.first, progress=self.progress)

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
    budget: int | None = None
    """Bytes beyond which a solve is blocked; None: half of the memory of the layer's device."""

    def update(self, layer: int, columns: Columns) -> tuple[Tensor, float]:
        size = columns.size
        budget = solve_bytes(columns.device) if self.budget is None else self.budget
        if self.moments.parts is not None and self.moments.stored is not None and exceeds(*size[:2], budget):
            return self._blocked(layer, columns, budget)
        if prefers_woodbury(*size) if self.woodbury is None else self.woodbury:
            keeps = keeps_factor(*size, kind_of(columns.device))
            factor, ridge = self.moments.factor(layer, store=keeps)
            keys, residuals = columns.stacked()
            return solve_few(factor.to(keys.device), self.lam, keys, residuals), self.lam * ridge
        normal, cross = columns.sums()
        return solve(self.moments.load(layer), self.lam, normal, cross)

    def _blocked(self, layer: int, columns: Columns, budget: int) -> tuple[Tensor, float]:
        """The same within `budget` bytes, apart from K, if it has fewer columns than rows, and the update."""
        assert self.moments.parts is not None
        assert self.moments.stored is not None
        parts = self.moments.parts(layer)
        scratch = self.moments.stored(layer, "factor").parent
        system = BlockedSystem(parts.columns, parts.size, parts.mean, budget / 2, scratch)
        if columns.size[2] < parts.size:
            keys, residuals = (found.cpu() for found in columns.stacked())
            update, ridge = system.few(self.lam, keys, residuals)
        else:
            with TemporaryDirectory(dir=scratch, prefix="keys-") as directory:
                keys, cross = columns.in_file(Path(directory) / "keys")
                update, ridge = system.many(self.lam, keys, cross, columns.kept)
        return update.to(columns.device), ridge
