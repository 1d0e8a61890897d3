"""Solving the normal equations of Eqn. 14, in fp64, by one of two routes.

Many columns: factorise C0 + K Kᵀ.  Few columns (n ≪ d_k): keep C0's own factor and use Woodbury,
(C0 + K Kᵀ)⁻¹ K = C0⁻¹ K (I + Kᵀ C0⁻¹ K)⁻¹, whose cost grows with n.
"""

from __future__ import annotations

import torch
from torch import Tensor

from editing.errors import NumericalError

RIDGES = (0.0, 1e-10, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3)
"""Tried in turn, relative to the mean of the diagonal.

Dead neurons and scarce text make C0 singular, and sums in fp32 blur its smallest eigenvalues.
"""


def factorise(normal: Tensor) -> tuple[Tensor, float]:
    """(lower Cholesky factor, ridge added to the diagonal) of a symmetric `normal` [n, n], overwritten there.

    The smallest ridge that works is taken and reported.  Raises NumericalError if none does.
    """
    scale = float(normal.diagonal().mean())
    if not scale > 0:
        raise NumericalError(f"the keys' second moments have mean diagonal {scale}: no text, or a dead layer")
    added = 0.0
    for ridge in RIDGES:
        normal.diagonal().add_(ridge * scale - added)
        added = ridge * scale
        factor, failed = torch.linalg.cholesky_ex(normal)
        if not int(failed):
            return factor, added
    raise NumericalError(
        f"the normal equations are not positive definite even with a ridge of {added:.1e}: "
        "raise lam, or compute the statistics from more text"
    )


def solve(normal: Tensor, cross: Tensor) -> tuple[Tensor, float]:
    """((C0 + K Kᵀ)⁻¹ K Rᵀ [d_k, d], ridge) from `normal` = C0 + K Kᵀ and `cross` = K Rᵀ."""
    factor, ridge = factorise(normal)
    return torch.cholesky_solve(cross, factor), ridge


def solve_few(factor: Tensor, lam: float, keys: Tensor, residuals: Tensor) -> Tensor:
    """The same [d_k, d] from the factor of C0 / λ, `keys` = Kᵀ [n, d_k] and `residuals` = Rᵀ [n, d]."""
    root = lam**-0.5
    half = torch.linalg.solve_triangular(factor, keys.T * root, upper=False)  # C0^-½ K, [d_k, n]
    small = half.T @ half
    small.diagonal().add_(1.0)
    weights = torch.cholesky_solve(residuals, torch.linalg.cholesky(small))  # (I + Kᵀ C0⁻¹ K)⁻¹ Rᵀ
    whole = torch.linalg.solve_triangular(factor.T, half * root, upper=True)  # C0⁻¹ K
    product: Tensor = whole @ weights
    return product
