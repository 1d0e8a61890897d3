"""λ of one build: as set, or derived from the leverage of the edited keys (`leverage.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editing.memit.cost import Work
from editing.memit.groups import Group
from editing.memit.keys import bare_keys
from editing.memit.leverage import blocked_leverages, lam_for, leverages, rounded
from editing.memit.preparation import Job
from editing.memit.statistics import Moments
from editing.preflight import mean_realised
from editing.settings import AUTO

SAMPLE = 256
"""Number of key groups whose leverage is measured; enough for its median."""
FALLBACK = 15_000.0
"""λ if no key is finite or has positive leverage.  No edit is then possible, and the spread reports why."""


@dataclass(frozen=True, slots=True)
class Scale:
    """λ, and the leverage of the edited keys."""

    lam: float
    leverage: Mapping[int, float]
    """Layer → median kᵀ C⁻¹ k of the edited keys, in the bare prompt."""

    @property
    def realised(self) -> float:
        """The share of its residual that a single edit realises at a layer, on average over the layers."""
        return mean_realised(self.leverage, self.lam)


def scale_of(job: Job, moments: Moments, groups: Sequence[Group]) -> Scale:
    """λ of a build that edits `groups` (ordered by key), with the statistics `moments`.

    It depends only on the view, the base and the statistics, so equal builds have equal λ.  Where a layer's solve is
    blocked, so is its factorisation here.  Raises NumericalError.
    """
    work = job.work
    step = -(-len(groups) // SAMPLE)
    keys = bare_keys(work.model, work.parts, work.layers, groups[::step])
    median: dict[int, float] = {}
    for layer in work.layers:
        finite = keys[layer][torch.isfinite(keys[layer]).all(1)]
        found = _leverages(work, moments, layer, finite) if len(finite) else keys[layer].new_zeros(1)
        median[layer] = rounded(float(found.median()))
    lam = job.inputs.settings.lam
    if lam == AUTO:
        lam = lam_for(median) if min(median.values()) > 0 else FALLBACK
    return Scale(lam, median)


def _leverages(work: Work, moments: Moments, layer: int, keys: Tensor) -> Tensor:
    """The leverage [n] of `keys` [n, d_k] at `layer`, within the memory that its solve may take."""
    if not work.is_blocked(layer) or moments.parts is None or moments.stored is None:
        return leverages(moments.load(layer), keys)
    scratch = moments.stored(layer, "factor").parent
    return blocked_leverages(moments.parts(layer), keys, work.budget(layer) / 2, scratch)
