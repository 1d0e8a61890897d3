"""Solving the normal equations of Eqn. 14, in fp64."""

from __future__ import annotations

import torch
from torch import Tensor

from editing.errors import NumericalError

RIDGES = (0.0, 1e-10, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3)
"""Tried in turn, relative to the mean of the diagonal.

Dead neurons and scarce text make C0 singular, and sums in fp32 blur its smallest eigenvalues.
"""


def factorise(normal: Tensor) -> tuple[Tensor, float]:
    """(lower Cholesky factor, ridge added to the diagonal) of a symmetric `normal` [n, n].

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
    """(normal⁻¹ cross, ridge); `normal` [d_k, d_k] is overwritten on the diagonal."""
    factor, ridge = factorise(normal)
    return torch.cholesky_solve(cross, factor), ridge
