"""Solving the normal equations of Eqn. 14, in fp64, in one of two ways.

Directly: factorise C0 + K Kᵀ.  With few columns (n ≪ d_k): factorise C0 and use Woodbury,
(C0 + K Kᵀ)⁻¹ K = C0⁻¹ K (I + Kᵀ C0⁻¹ K)⁻¹, whose cost grows with n.  C0's factor serves all builds, and in a wide
model it is cached.  The choice is made by counting the operations of the first solve, with a cold cache; it never
depends on what is cached, since that would change the last bits of a result.
"""

from __future__ import annotations

import torch
from torch import Tensor

from editing.errors import NumericalError
from editing.memit.gram import gram_flops

RIDGES = (0.0, 1e-10, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3)
"""Ridges tried in turn, relative to the mean of a diagonal.

Dead neurons and scarce text make C0 singular, and rounding of fp32 sums affects its smallest eigenvalues.
"""


BYTE_FLOPS = {"cpu": 400.0, "cuda": 100_000.0}
"""Operations that take as long as hashing and writing one byte of a factor, or reading and verifying it."""


def direct_flops(d_k: int, d: int, n: int) -> float:
    """Operations of a layer's update by `solve`, given K [d_k, n] and R [d, n]."""
    sums = gram_flops(d_k, n) + 2.0 * n * d_k * d
    return sums + d_k**3 / 3 + 2.0 * d_k**2 * d


def woodbury_flops(d_k: int, d: int, n: int) -> float:
    """Operations of a layer's update by `factorise` and `solve_few`."""
    small = 2.0 * n**2 * d_k + n**3 / 3 + 2.0 * n**2 * d
    return d_k**3 / 3 + 2.0 * n * d_k**2 + small + 2.0 * n * d_k * d


def prefers_woodbury(d_k: int, d: int, n: int) -> bool:
    """Whether Woodbury's form needs no more work even if C0 has yet to be factorised.

    It is then also better conditioned: the smallest eigenvalues of C0 are not dominated by K Kᵀ.
    """
    return woodbury_flops(d_k, d, n) <= direct_flops(d_k, d, n)


def keeps_factor(d_k: int, d: int, n: int, device: str) -> bool:
    """Whether that still holds if writing the factor, for later builds, is counted."""
    written = 8.0 * d_k**2 * BYTE_FLOPS[device]
    return woodbury_flops(d_k, d, n) + written <= direct_flops(d_k, d, n)


def ridges(*scales: float) -> list[float]:
    """The ridges to be tried in turn, relative to each of `scales`."""
    return sorted({ridge * scale for scale in scales for ridge in RIDGES})


def factorise(normal: Tensor, *scales: float) -> tuple[Tensor, float]:
    """(lower Cholesky factor, ridge added to the diagonal) of a symmetric `normal` [n, n], which is overwritten.

    Uses and reports the smallest ridge that works; ridges are relative to each of `scales` and to the mean of
    the diagonal.  Raises NumericalError if none works.
    """
    mean = float(normal.diagonal().mean())
    if not mean > 0:
        raise NumericalError(f"the keys' second moments have mean diagonal {mean}: no text, or a dead layer")
    added = 0.0
    for ridge in ridges(*scales, mean):
        normal.diagonal().add_(ridge - added)
        added = ridge
        factor, failed = torch.linalg.cholesky_ex(normal)
        if not int(failed):
            return factor, added
    raise NumericalError(
        f"the normal equations are not positive definite even with a ridge of {added:.1e}: "
        "raise lam, or compute the statistics from more text"
    )


def solve(moment: Tensor, lam: float, normal: Tensor, cross: Tensor) -> tuple[Tensor, float]:
    """((C0 + K Kᵀ)⁻¹ K Rᵀ [d_k, d], ridge) from `moment` = C0 / λ, `normal` = K Kᵀ, overwritten, and `cross` = K Rᵀ.

    A ridge compensates for directions that scarce text never showed, so those relative to C0 are tried first.
    """
    normal.add_(moment.to(normal), alpha=lam)
    factor, ridge = factorise(normal, lam * float(moment.diagonal().double().mean()))
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
