"""MEND's editor network (arXiv 2110.11309, Section 3): from the gradient of a fact to the update that edits it.

The gradient of a loss for W_out is a sum of outer products, one a token: of what W_out reads there, u [d_k], and of the
loss's gradient for what it writes, δ [d].  The network maps z = [u ‖ δ], normalised, to new factors,

    h = z + ReLU(s₁ ⊙ (U₁ V₁ z + b₁) + o₁),   [ũ ‖ δ̃] = h + s₂ ⊙ (U₂ V₂ h + b₂) + o₂

and W̃ = W − α Σ δ̃ ũᵀ.  U starts at zero, so the network starts as the identity.  U, V and b are shared by all
layers, whose matrices have one shape; the scales s, the offsets o and the learning rate α are each layer's own.  As in
the released implementation the second part has no ReLU, and an edit's update is the sum over its tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

EPSILON = 1e-7
"""Added to the deviation of the inputs."""


class LowRank(nn.Module):
    """z ↦ z + s ⊙ (U V z + b) + o, with a ReLU of the second term in the first of two parts."""

    def __init__(
        self, width: int, rank: int, layers: int, *, rectified: bool, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.rectified = rectified
        self.up = nn.Parameter(torch.zeros(width, rank))
        self.down = nn.Parameter(torch.randn(rank, width, generator=generator) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(width))
        self.scale = nn.Parameter(torch.ones(layers, width))
        self.offset = nn.Parameter(torch.zeros(layers, width))

    def forward(self, z: Tensor, index: int) -> Tensor:
        change = self.scale[index] * (z @ self.down.T @ self.up.T + self.bias) + self.offset[index]
        return z + (change.clamp(min=0) if self.rectified else change)


class EditorNetwork(nn.Module):
    """The network of the W_out of several layers; `index` numbers these layers from 0."""

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, key_width: int, width: int, layers: int, rank: int, edit_lr: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        both = key_width + width
        self.key_width = key_width
        rank = min(rank, both)
        self.first = LowRank(both, rank, layers, rectified=True, generator=generator)
        self.second = LowRank(both, rank, layers, rectified=False, generator=generator)
        self.rates = nn.Parameter(torch.full((layers,), edit_lr))
        """α of each layer."""
        self.register_buffer("mean", torch.zeros(layers, both))
        self.register_buffer("deviation", torch.ones(layers, both))

    def factors(self, index: int, u: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        """(ũ [t, d_k], δ̃ [t, d]) of t tokens."""
        z = (torch.cat([u, delta], 1) - self.mean[index]) / (self.deviation[index] + EPSILON)
        out: Tensor = self.second(self.first(z, index), index)
        return out[:, : self.key_width], out[:, self.key_width :]

    def update(self, index: int, u: Tensor, delta: Tensor) -> Tensor:
        """−α Σ ũ δ̃ᵀ [d_k, d] of a fact's tokens, or of several facts'; tokens without a gradient play no part."""
        moved = (delta != 0).any(1)
        u, delta = self.factors(index, u[moved].to(self.rates), delta[moved].to(self.rates))
        return -self.rates[index] * (u.T @ delta)

    @torch.no_grad()
    def normalise(self, index: int, u: Tensor, delta: Tensor) -> None:
        """Take the mean and deviation of the inputs of a layer from these tokens."""
        z = torch.cat([u, delta], 1)[(delta != 0).any(1)].to(self.mean)
        self.mean[index], self.deviation[index] = z.mean(0), z.std(0)


def parameter_groups(network: EditorNetwork, lr: float, rates_lr: float) -> list[dict[str, object]]:
    """What an optimiser trains: the network with `lr`, the learning rates α with `rates_lr`."""
    own: Sequence[nn.Parameter] = [p for p in network.parameters() if p is not network.rates]
    return [{"params": own, "lr": lr}, {"params": [network.rates], "lr": rates_lr}]
