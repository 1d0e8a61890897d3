"""AlphaEdit (arXiv 2410.02355): MEMIT whose updates are confined to the null space of the preserved keys.

The update of a layer is Δ P, where P projects on the directions that ordinary text hardly uses: the eigenvectors
of E[k kᵀ], that is of K0 K0ᵀ, with small eigenvalues.  Then (W + Δ P) K0 ≈ W K0, whatever Δ is.  Among these updates,
‖(W + Δ P) K − V‖² + ‖Δ P K_p‖² + α ‖Δ P‖² is minimised by

    Δ P = R Kᵀ P (K_p K_pᵀ P + K Kᵀ P + α I)⁻¹

where K and R are the keys and residuals of the edits and K_p the keys of earlier ones.  Targets, keys and
residuals are MEMIT's, so every cached δ is reused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from editing.baselines.options import option, read_options
from editing.editors.contract import BuildInputs, Editor, EditResult, Planned, proceed
from editing.errors import NumericalError
from editing.memit.build import LAYERS, SHARES, Solving, build, estimate, solve
from editing.memit.solvers import Columns
from editing.memit.statistics import Moments
from editing.preflight import Preflight
from editing.progress import Progress, silent


@dataclass(frozen=True)
class NullSpaceOptions:
    """Both are relative to the mean eigenvalue of E[k kᵀ], since the scale of keys differs between models by orders
    of magnitude; the paper states them as absolute numbers."""

    threshold: float = option(0.1, above=True)
    """Directions with smaller eigenvalues count as unused by ordinary text."""
    l2: float = option(10.0, above=True)
    """α, the weight of ‖Δ P‖²."""


@dataclass(frozen=True)
class NullSpace:
    """The solver of AlphaEdit."""

    moments: Moments
    options: NullSpaceOptions
    ridge: float = 0.0
    """That of `[edit] ridge`, which is in the moments; it makes no direction count as used."""

    def update(self, layer: int, columns: Columns) -> tuple[Tensor, float]:
        basis, mean = self.basis(layer)
        normal, cross = columns.sums()  # K Kᵀ, with the keys of earlier edits, and K Rᵀ
        basis = basis.to(normal.device)
        # With P = N Nᵀ, P (K Kᵀ P + α I)⁻¹ = N (Nᵀ K Kᵀ N + α I)⁻¹ Nᵀ: a smaller, symmetric system.
        small = basis.T @ normal @ basis
        small.diagonal().add_(self.options.l2 * mean)
        factor, failed = torch.linalg.cholesky_ex(small)
        if int(failed):
            raise NumericalError(
                f"the null-space solve of layer {layer} has no solution: raise l2 ({self.options.l2:g}) in "
                "[edit.options]"
            )
        return basis @ torch.cholesky_solve(basis.T @ cross, factor), 0.0

    def basis(self, layer: int) -> tuple[Tensor, float]:
        """(N [d_k, m] whose columns span the null space, the mean eigenvalue)."""
        values, vectors = self.moments.eigen(layer)
        mean = float(values.mean()) / (1.0 + self.ridge)
        values = values - self.ridge * mean
        unused = values < self.options.threshold * mean
        if not bool(unused.any()):
            raise NumericalError(
                f"ordinary text uses every direction of the keys of layer {layer}: the smallest eigenvalue is "
                f"{float(values[0]) / mean:.2g} of the mean; raise threshold ({self.options.threshold:g}) in "
                "[edit.options]"
            )
        return vectors[:, unused], mean


def edit(
    model: Any,
    tokenizer: Any,
    inputs: BuildInputs,
    *,
    planned: Planned = proceed,
    progress: Progress = silent,
) -> EditResult:
    """Edit with MEMIT's δs, solved in the null space; raises the errors of `memit.build.build`."""
    return build(model, tokenizer, inputs, planned=planned, progress=progress, solving=_solving(inputs))


def expected(model: Any, tokenizer: Any, inputs: BuildInputs) -> Preflight:
    """The `Preflight` of the same edit."""
    return estimate(model, tokenizer, inputs, solving=_solving(inputs))


def solve_layer(
    model: Any,
    tokenizer: Any,
    inputs: BuildInputs,
    step: int,
    share: tuple[int, int] = (0, 1),
    progress: Progress = silent,
) -> Mapping[str, float]:
    """Solve one layer from columns that machines collected; see `memit.build.solve`."""
    return solve(model, tokenizer, inputs, step, share, progress, solving=_solving(inputs))


def _solving(inputs: BuildInputs) -> Solving:
    options = read_options(NullSpaceOptions, inputs.settings)
    return partial(NullSpace, options=options, ridge=inputs.settings.ridge)


NULL_SPACE = Editor(
    reuse="fact",
    edit=edit,
    estimate=expected,
    shares=SHARES,
    by_layer={**LAYERS, "solve": solve_layer},
)
"""δs are MEMIT's, from the same cache."""
