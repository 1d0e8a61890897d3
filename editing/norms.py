"""Mapping a residual back through the norm that follows W_out (Gemma 2 and 3, OLMo 2, OPT-350m).

Eqn. 14 wants Δ k = r in the residual stream.  Where a norm n stands between W_out and the stream,
the update of its input u must satisfy J(u) Δ k = r, J the norm's Jacobian.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def through_norm(norm: nn.Module, entering: Tensor, residual: Tensor) -> Tensor:
    """The smallest change of `entering` [n, d] that changes the norm's output by `residual`, to first order.

    With gain g, n(u) = g ⊙ û, and J = diag(g) / σ · P, P the projection onto what the norm does not
    divide out (the radial direction; for LayerNorm the mean too).  J⁺ r = σ P (r / g).
    """
    gain, centred = _gain(norm, entering)
    u = entering - entering.mean(-1, keepdim=True) if centred else entering
    sigma = u.square().mean(-1, keepdim=True).sqrt()
    wanted = residual / gain
    if centred:
        wanted = wanted - wanted.mean(-1, keepdim=True)
    radial = (wanted * u).sum(-1, keepdim=True) / u.square().sum(-1, keepdim=True)
    return sigma * (wanted - radial * u)


def _gain(norm: nn.Module, like: Tensor) -> tuple[Tensor, bool]:
    """(g [d], whether the norm subtracts the mean), from the norm itself: norms differ in how they store it."""
    width = like.shape[-1]
    weight = next(norm.parameters())
    signs = torch.ones(1, width, dtype=weight.dtype, device=weight.device)
    signs[:, 1::2] = -1  # mean 0 (d is even) and unit variance, so the norm multiplies it by g and adds its bias
    gain = (norm(signs) - norm(-signs)) / 2 * signs
    ones = torch.ones_like(signs)
    centred = bool((norm(ones) - norm(-ones)).abs().max() < 1e-3 * gain.abs().max())
    return gain[0].to(like.dtype), centred
