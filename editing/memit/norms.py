"""Mapping a residual back through the norm that follows W_out (Gemma 2 and 3, OLMo 2, OPT-350m).

Eqn. 14 requires Δ k = r in the residual stream.  If a norm n lies between W_out and the stream, the
update of its input u must satisfy J(u) Δ k = r, where J is the norm's Jacobian.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

PROBE = 1e3
"""Magnitude of the vectors that probe a norm: large enough for its ε to be negligible."""


def through_norm(norm: nn.Module, entering: Tensor, residual: Tensor) -> Tensor:
    """J⁺ r: the smallest change of `entering` [n, d] whose effect on the norm's output comes closest to
    `residual` [n, d], to first order.

    With gain g and scale σ, J = diag(g) / σ · P, where P removes what the norm divides out: the radial
    direction, and for LayerNorm also the mean.  So only the component of r along u / g (and 1 / g) is
    unreachable: J⁺ r = σ r′ / g, where r′ is the rest.  No W_out can produce the unreachable component.
    """
    gain, bias, centred = _affine(norm, entering)
    u = entering - entering.mean(-1, keepdim=True) if centred else entering
    sigma = (gain * u).norm(dim=-1, keepdim=True) / (_apply(norm, entering) - bias).norm(dim=-1, keepdim=True)
    lost = u / gain
    if centred:
        mean = (1 / gain) / (1 / gain).norm()
        residual = residual - (residual @ mean)[:, None] * mean
        lost = lost - (lost @ mean)[:, None] * mean
    lost = lost / lost.norm(dim=-1, keepdim=True)
    residual = residual - (residual * lost).sum(-1, keepdim=True) * lost
    return cast(Tensor, sigma * residual / gain)


def _apply(norm: nn.Module, states: Tensor) -> Tensor:
    weight = next(norm.parameters())
    out: Tensor = norm(states.to(weight.dtype))
    return out.to(states.dtype)


def _affine(norm: nn.Module, like: Tensor) -> tuple[Tensor, Tensor, bool]:
    """(g [d], b [d], whether the mean is subtracted), found by probing, since norms store them differently."""
    signs = like.new_ones(1, like.shape[-1])
    signs[:, 1::2] = -1  # mean 0, as d is even, and unit variance
    up, down = _apply(norm, PROBE * signs), _apply(norm, -PROBE * signs)
    ones = PROBE * torch.ones_like(signs)
    gain = ((up - down) / 2 * signs)[0]
    centred = bool((_apply(norm, ones) - _apply(norm, -ones)).abs().max() < 1e-2 * gain.abs().max())
    return gain, ((up + down) / 2)[0], centred
