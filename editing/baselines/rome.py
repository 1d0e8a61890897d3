"""ROME (arXiv 2202.05262): one rank-one edit after the other, at one layer.

For a fact with key k (averaged over the contexts) and a residual δ, optimised like MEMIT's, the update

    Λ (C⁻¹ k)ᵀ  with  Λ = δ / (kᵀ C⁻¹ k)

makes the layer write δ more for k, and changes what it writes for other keys least, measured by C = E[k kᵀ].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from editing.baselines.locating import AUTO_LAYER
from editing.baselines.options import option, read_options
from editing.baselines.sequence import Sequential, Turns
from editing.editors.contract import BuildInputs
from editing.errors import NumericalError
from editing.memit.build import build, estimate
from editing.memit.solvers import Columns
from editing.memit.statistics import Moments


@dataclass(frozen=True)
class RomeOptions:
    """Hyper-parameters of ROME; those of the residual's optimisation are MEMIT's."""

    layer: int = option(AUTO_LAYER, least=AUTO_LAYER)
    """Layer that is edited; −1: the last of `layers`."""


@dataclass(frozen=True)
class RankOne:
    """The solver of ROME: keys that come together are inserted one after the other."""

    moments: Moments

    def update(self, layer: int, columns: Columns) -> tuple[Tensor, float]:
        factor, ridge = self.moments.factor(layer)
        keys, residuals = columns.stacked()
        directions = torch.cholesky_solve(keys.T, factor.to(keys.device))  # C⁻¹ K [d_k, n]
        update = keys.new_zeros(keys.shape[1], residuals.shape[1])
        for key, residual, direction in zip(keys, residuals, directions.T, strict=True):
            share = key @ direction
            if not float(share) > 0:
                raise NumericalError(f"a key of layer {layer} is zero: a dead layer cannot be edited")
            update += torch.outer(direction, (residual - key @ update) / share)
        return update, ridge


def _turns(inputs: BuildInputs) -> Turns:
    options = read_options(RomeOptions, inputs.settings)
    layers = inputs.settings.layers[-1:] if options.layer == AUTO_LAYER else (options.layer,)
    settings = replace(inputs.settings, layers=layers, keys="average", keep=0.0)
    return Turns(
        replace(inputs, settings=settings),
        edit=partial(build, solving=RankOne),
        estimate=partial(estimate, solving=RankOne),
        size=1,
    )


ROME = Sequential(_turns).editor
