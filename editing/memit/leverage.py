"""The scale of λ, computed without any edit: the leverage of the edited keys.

A single edit with key k at a layer whose statistics are C = E[k kᵀ] realises h / (1 + h) of its residual there,
with h = kᵀ C⁻¹ k / λ: by Sherman and Morrison, kᵀ (λ C + k kᵀ)⁻¹ k = h / (1 + h).  kᵀ C⁻¹ k is the key's leverage.
Leverage differs between models by orders of magnitude, and with it the suitable λ.

The layers of R share a residual: layer i of N takes 1 / (N − i) of what remains (20), so the share that
remains after all of them is Π (1 − p_i / (N − i)), where p_i is what layer i realises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from editing.memit.blocked import BlockedSystem, MatrixParts
from editing.memit.solve import factorise

RIDGE = 1e-3
"""Smallest ridge, relative to the mean diagonal of C: directions that the text never showed would otherwise have
arbitrarily large leverage."""
REALISED = 0.94
"""The share of a residual that `lam_for` lets all layers together realise."""
DIGITS = 3
"""Significant digits of leverage and λ, so that rounding in matrix products does not change the setting."""


def leverages(moment: Tensor, keys: Tensor) -> Tensor:
    """kᵀ C⁻¹ k of each of `keys` [n, d_k], with C = `moment` [d_k, d_k] + `RIDGE`: [n], in fp64.

    Raises NumericalError for moments that are not finite.
    """
    ridged = moment.to(torch.float64, copy=True)
    ridged.diagonal().add_(RIDGE * ridged.diagonal().mean())
    factor, _ = factorise(ridged)
    half = torch.linalg.solve_triangular(factor, keys.to(factor).T, upper=False)
    found: Tensor = half.square().sum(0)
    return found


def blocked_leverages(parts: MatrixParts, keys: Tensor, budget: float, scratch: Path) -> Tensor:
    """The same [n], on the CPU, from moments of which only panels of `budget` bytes are held at a time.

    The factor is in a file below `scratch`, which is removed.  Raises NumericalError.
    """
    ridged = parts.ridged(RIDGE)
    return BlockedSystem(ridged.columns, ridged.size, ridged.mean, budget, scratch).leverages(keys.cpu())


def realised(leverage: float, lam: float) -> float:
    """The share of its residual that an edit with this leverage realises at one layer: h / (1 + h)."""
    return leverage / (leverage + lam)


def realised_by_all(by_layer: Sequence[float], lam: float) -> float:
    """The share of its residual that an edit realises over the layers of R (ascending), given the leverage at each."""
    left = 1.0
    for index, leverage in enumerate(by_layer):
        left *= 1.0 - realised(leverage, lam) / (len(by_layer) - index)
    return 1.0 - left


def lam_for(by_layer: Mapping[int, float], share: float = REALISED) -> float:
    """The λ at which an edit with these leverages, by layer, realises `share` of its residual over all layers.

    Raises ValueError if no leverage is positive.
    """
    ordered = [by_layer[layer] for layer in sorted(by_layer)]
    if not ordered or min(ordered) <= 0:
        raise ValueError(f"leverages have to be positive, found {by_layer}")
    # What is realised falls with λ, from 1 at λ = 0; layer i realises at most h_i, so that all realise Σ h_i at most.
    low, high = 0.0, sum(ordered) / share
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if realised_by_all(ordered, middle) > share else (low, middle)
    return rounded(high)


def rounded(value: float) -> float:
    """`value` rounded to `DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}")
