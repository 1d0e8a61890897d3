"""AlphaEdit read plainly from its paper: the projection written out, one dense system, nothing reduced."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.support.serial import Serial


class SerialNullSpace(Serial):
    """MEMIT's keys and residuals, solved as arXiv 2410.02355 does."""

    threshold: float
    l2: float
    ridge: float = 0.0
    """What was added to the diagonal of the moments, relative to its mean: it hides no unused direction."""
    earlier: Tensor | None = None
    """K_p [d_k, n], the keys of earlier edits."""

    def solved(self, K: Tensor, R: Tensor, moment: Tensor, lam: float, ridge: float) -> Tensor:
        """Δ P = R Kᵀ P (K_p K_pᵀ P + K Kᵀ P + α I)⁻¹, P by a singular value decomposition of E[k kᵀ]."""
        mean = moment.diagonal().mean() / (1 + self.ridge)
        vectors, values, _ = torch.linalg.svd(moment - self.ridge * mean * torch.eye(len(moment)))
        small = vectors[:, values < self.threshold * mean]
        P = small @ small.T
        bracket = K @ K.T @ P + self.l2 * mean * torch.eye(len(P), dtype=torch.float64)
        if self.earlier is not None:
            bracket = bracket + self.earlier @ self.earlier.T @ P
        return R @ K.T @ P @ torch.linalg.inv(bracket)
