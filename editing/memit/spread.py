"""Spreading δ over the layers R (14, 17–20): keys, residuals, and a least-squares update of each W_out.

How a layer's update follows from its keys and residuals is the solver's part (`solvers.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from editing.memit.groups import Group
from editing.memit.kept import kept_keys
from editing.memit.keys import Collector, Site
from editing.memit.low_rank import Fit, RankLimited
from editing.memit.solvers import Columns, Solver
from editing.model.architectures import Parts
from editing.model.weights import growth, write_weights
from editing.progress import Progress, silent


@dataclass
class Spread:
    """The result of updating all layers."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    """New weights by name in the state dict, in the model's dtype."""
    ridges: dict[int, float] = field(default_factory=dict)
    """What was added to the diagonal of each layer's system so that it could be factorised."""
    growth: dict[int, float] = field(default_factory=dict)
    """‖W + Δ‖ / ‖W‖ of each layer."""
    fits: dict[int, Fit] = field(default_factory=dict)
    """How well each layer's update fits into the largest rank, if there is one."""


@torch.no_grad()
def spread(
    site: Site,
    groups: Sequence[Group],
    deltas: Tensor,
    solver: Solver,
    *,
    preserved: Sequence[Group] = (),
    progress: Progress = silent,
) -> Spread:
    """Update W_out of each layer of R, ascending, in place; `deltas` is [G, d], one row per group.

    Each layer takes an equal share of the remaining residual, which is measured again after each update (20).
    The keys of `preserved` groups, already in the weights, are added to the normal equations as K_p K_pᵀ; leave out
    those of superseded facts, or a new edit of them realises only a part of its residual.  The keys of `site.kept` are
    added with their weight (`kept.py`).
    """
    parts, layers = site.parts, site.layers
    collected = Collector(site, groups, deltas, preserved)
    result = Spread()
    for index, layer in enumerate(layers):
        columns = Columns(
            collected,
            layer,
            share=1.0 / (len(layers) - index),
            first=index == 0,
            kept=kept_keys(site, layer) if site.kept else None,
            progress=_part(progress, index, layers),
        )
        update, result.ridges[layer] = solver.update(layer, columns)
        changed, result.growth[layer] = with_update(parts, layer, update)
        write_weights(site.model, {parts.weight_name(layer): changed})
        result.tensors[parts.weight_name(layer)] = changed
        progress("solve", index + 1, len(layers))
    if isinstance(solver, RankLimited):
        result.fits = solver.fits
    return result


def with_update(parts: Parts, layer: int, update: Tensor) -> tuple[Tensor, float]:
    """(W_out of `layer` with Δᵀ = `update` [d_k, d] added, in its own dtype and form; ‖W + Δ‖ / ‖W‖)."""
    weight = parts.writer(layer).weight
    assert isinstance(weight, Tensor)
    delta = update if parts.transposed(layer) else update.T
    changed = (weight.double() + delta).to(weight.dtype)
    return changed, growth(weight, changed)


def _part(progress: Progress, index: int, layers: Sequence[int]) -> Progress:
    """Progress of one layer as a part of the progress of all."""
    return lambda phase, done, total: progress(phase, index * total + done, len(layers) * total)
