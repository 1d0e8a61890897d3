"""The update of a layer (14) whose d_k × d_k matrices do not fit in memory, within a budget and on the CPU.

Both ways of `solve.py` remain, with the factor in a file (`panels.py`).  With fewer columns than d_k, E[k kᵀ] is
factorised panel by panel, each read from the cached moments when it is needed, and Woodbury's form needs K alone.  With
more, K is in a file too, and the panels of λ E[k kᵀ] + K Kᵀ are summed up as they are needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from editing.errors import NumericalError
from editing.memit import tensor_cache
from editing.memit.panels import PanelFactor, factorise_panels, panel_width
from editing.memit.solve import ridges

Part = Callable[[int, int], Tensor]
"""(first, end) → [d_k − first, end − first]: columns of E[k kᵀ] from the diagonal down."""
DENSE = 28
"""Bytes of a dense solve for each entry of a d_k × d_k matrix: Σ k kᵀ in fp64, moments in fp32 and fp64, the factor."""


def exceeds(d_k: int, d: int, budget: float) -> bool:
    """Whether a dense solve for W_out [d, d_k] takes more than `budget` bytes."""
    return DENSE * d_k**2 + 24 * d_k * d > budget


@dataclass(frozen=True)
class MatrixParts:
    """E[k kᵀ] of one layer in a file, with the ridge."""

    stored: tensor_cache.StoredMatrix
    size: int
    ridge: float
    """Relative to the mean diagonal."""

    @cached_property
    def _mean(self) -> float:
        rows = (self.stored.rows(row, row + 1, row)[0, 0] for row in range(self.size))
        return float(torch.stack([*rows]).mean())

    @property
    def mean(self) -> float:
        """The mean of the diagonal, with the ridge."""
        return self._mean * (1.0 + self.ridge)

    def ridged(self, more: float) -> MatrixParts:
        """The same with `more` of the mean of its diagonal, ridge included, added to the diagonal."""
        return replace(self, ridge=self.ridge + more * (1.0 + self.ridge))

    def columns(self, first: int, end: int) -> Tensor:
        """[size − first, end − first] in fp64, from the diagonal down."""
        panel = self.stored.rows(first, end, first).double().T.contiguous()
        panel[: end - first].diagonal().add_(self.ridge * self._mean)
        return panel


@dataclass(frozen=True)
class BlockedSystem:
    """λ E[k kᵀ], given by its parts, for matrices [d_k, d_k] of which only panels are held."""

    part: Part
    size: int
    """d_k"""
    mean: float
    """The mean of the diagonal of E[k kᵀ]."""
    budget: float
    """Bytes that panels may take."""
    scratch: Path
    """Directory for the factor: 4 d_k² bytes and more."""

    def few(self, lam: float, keys: Tensor, residuals: Tensor) -> tuple[Tensor, float]:
        """(Δᵀ [d_k, d], ridge) from Kᵀ [n, d_k] and Rᵀ [n, d], by Woodbury's form.  Raises NumericalError."""
        root = lam**-0.5
        half = (keys.T * root).contiguous()
        with self._directory() as directory:
            factor, ridge = self._factor(self.part, Path(directory) / "factor", self.mean)
            factor.forward(half)  # C0^-½ K
            small = half.T @ half
            small.diagonal().add_(1.0)
            weights = torch.cholesky_solve(residuals, torch.linalg.cholesky(small))
            factor.backward(half)
        return half @ (weights * root), lam * ridge

    def leverages(self, keys: Tensor) -> Tensor:
        """kᵀ E[k kᵀ]⁻¹ k [n] from Kᵀ [n, d_k].  Raises NumericalError."""
        half = keys.double().T.contiguous()
        with self._directory() as directory:
            factor, _ = self._factor(self.part, Path(directory) / "factor", self.mean)
            factor.forward(half)
        found: Tensor = half.square().sum(0)
        return found

    def many(
        self, lam: float, keys: Tensor, cross: Tensor, kept: Tensor | None = None
    ) -> tuple[Tensor, float]:
        """The same from Kᵀ [n, d_k], perhaps in a file, and K Rᵀ [d_k, d], which is overwritten.

        `kept` are further rows of Kᵀ, whose residual is zero.
        """
        every = (keys,) if kept is None else (keys, kept.cpu())

        def part(first: int, end: int) -> Tensor:
            panel = lam * self.part(first, end)
            rows = max(1, panel.numel() // self.size)
            for some in (few for group in every for few in torch.split(group, rows)):
                panel.addmm_(some[:, first:].T, some[:, first:end])
            return panel

        squares = [float(some.square().sum()) for group in every for some in torch.split(group, 1024)]
        mean = lam * self.mean + math.fsum(squares) / self.size
        with self._directory() as directory:
            factor, ridge = self._factor(part, Path(directory) / "factor", lam * self.mean, mean)
            factor.forward(cross)
            factor.backward(cross)
        return cross, ridge

    def _directory(self) -> AbstractContextManager[str]:
        self.scratch.mkdir(parents=True, exist_ok=True)
        return TemporaryDirectory(dir=self.scratch, prefix="solve-")

    def _factor(self, part: Part, path: Path, *scales: float) -> tuple[PanelFactor, float]:
        """The factor, and the smallest ridge with which there is one (as `solve.factorise`)."""
        width, added = panel_width(self.size, self.budget), 0.0
        for added in ridges(*scales):

            def ridged(first: int, end: int, ridge: float = added) -> Tensor:
                panel = part(first, end)
                panel[: end - first].diagonal().add_(ridge)
                return panel

            factor = factorise_panels(ridged, self.size, path, width)
            if factor is not None:
                return factor, added
        raise NumericalError(
            f"the normal equations are not positive definite even with a ridge of {added:.1e}: "
            "raise lam, or compute the statistics from more text"
        )
