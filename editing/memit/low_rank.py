"""The best update of a limited rank, as an adapter needs it, in the metric of the solve.

The update of a layer (14) minimises ‖Δ K − R‖² + λ tr(Δ C Δᵀ), which differs from its minimum by ‖(Δ − Δ*) M^½‖²
with M = λ C + K Kᵀ.  Among matrices of rank r it is therefore smallest at the best approximation in that norm:
reduced-rank regression (Izenman, 1975).  With Δ* M = R Kᵀ, the left singular vectors of Δ* M^½ are the eigenvectors of

    Δ* M Δ*ᵀ = R Kᵀ Δ*ᵀ        [d, d]

so that M is never factorised: if U has the r leading ones, the best Δ is U Uᵀ Δ*.  A later layer takes what an
earlier one could not hold, since residuals are collected again after each layer (20).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from editing.memit.solvers import Columns, Solver

_TOLERANCE = 1e-14
"""Eigenvalues up to this share of the largest count as zero; they are squares of singular values."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How well one layer's update fits into the rank."""

    needed: int
    """The rank of the update."""
    error: float
    """‖(Δ − Δ*) M^½‖ / ‖Δ* M^½‖; 0 if it needs no more than the rank."""


@dataclass(frozen=True)
class _Recording(Columns):
    """Columns that keep K Rᵀ of what the solver collected."""

    cross: list[Tensor] = field(default_factory=list)

    def sums(self) -> tuple[Tensor, Tensor]:
        normal, cross = Columns.sums(self)
        self.cross.append(cross)
        return normal, cross

    def stacked(self) -> tuple[Tensor, Tensor]:
        keys, residuals = Columns.stacked(self)
        self.cross.append(keys.T @ residuals)
        return keys, residuals

    def in_file(self, path: Path) -> tuple[Tensor, Tensor]:
        keys, cross = Columns.in_file(self, path)
        self.cross.append(cross.clone())  # which the solver overwrites
        return keys, cross


@dataclass(frozen=True)
class RankLimited:
    """A solver whose updates have at most rank `max_rank`: the best ones that `solver` has."""

    solver: Solver
    max_rank: int
    fits: dict[int, Fit] = field(default_factory=dict)
    """Filled layer by layer."""

    def update(self, layer: int, columns: Columns) -> tuple[Tensor, float]:
        recording = _Recording(**{name: getattr(columns, name) for name in Columns.__dataclass_fields__})
        update, ridge = self.solver.update(layer, recording)
        fitted, self.fits[layer] = best_fit(update, recording.cross[-1].to(update.device), self.max_rank)
        return fitted, ridge


def best_fit(update: Tensor, cross: Tensor, max_rank: int) -> tuple[Tensor, Fit]:
    """The best Δᵀ [d_k, d] of rank `max_rank` for the solution `update` = M⁻¹ K Rᵀ [d_k, d] of `cross` = K Rᵀ."""
    squares = cross.T @ update
    values, vectors = torch.linalg.eigh((squares + squares.T) / 2)  # ascending
    values = values.clamp_min(0.0)
    needed = int((values > _TOLERANCE * values[-1]).sum())
    if needed <= max_rank:
        return update, Fit(needed, 0.0)
    leading = vectors[:, -max_rank:]
    lost = float(values[:-max_rank].sum() / values.sum())
    return (update @ leading) @ leading.T, Fit(needed, lost**0.5)
