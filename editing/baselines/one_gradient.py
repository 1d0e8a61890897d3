"""One-gradient editing (UltraEdit, arXiv 2505.14679): a closed-form update from one backward pass a fact.

For each position i that predicts a token of a target, z_i = [h_i ‖ ∇y_i] is what W_out reads and the gradient of what
it writes (`features.py`).  *Lifelong normalisation* maintains mean μ and deviation σ of z over all edits so far, and
z̃ = (z − μ) / (σ + ε).  With the values v_i = −η ‖h̃_i‖² ∇ỹ_i, a layer's update is a regularised least-squares fit,

    Δᵀ = (Hᵀ H + α I)⁻¹ Hᵀ V.

A view is one turn: all features are those of the base, so each fact's are cached, and the order of facts plays no
part.  In sequence (`one_gradient_sequence`), features are read from the weights of the turn before, and μ and σ run on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from editing.baselines.features import FeatureStore
from editing.baselines.gradients import GradientEditor, GradientTurn
from editing.baselines.locating import AUTO_LAYER, FactText, locate_facts, place_of
from editing.baselines.options import option, read_options
from editing.editors.contract import BuildInputs, Editor, EditResult, Failed, Planned, proceed
from editing.memit.solve import factorise
from editing.preflight import Preflight
from editing.progress import Progress, silent

EPSILON = 1e-8
"""Added to σ."""
BLOCK = 256
"""Rows that are multiplied at once: a product of a few rows would take as long, for the matrix that it is added to."""


@dataclass(frozen=True)
class OneGradientOptions:
    """Hyper-parameters of one-gradient editing."""

    first_layer: int = option(AUTO_LAYER, least=AUTO_LAYER)
    """First layer that is edited; −1: as in `layers`."""
    last_layer: int = option(AUTO_LAYER, least=AUTO_LAYER)
    """Last layer that is edited; −1: as in `layers`."""
    lr: float = option(1e-4, above=True)
    """η."""
    l2: float = option(1.0, above=True)
    """α, the weight of ‖Δ‖²."""


@dataclass
class Running:
    """Mean and deviation of everything seen so far, by Chan's parallel update."""

    count: int = 0
    mean: Tensor = field(default_factory=lambda: torch.zeros(()))
    squares: Tensor = field(default_factory=lambda: torch.zeros(()))
    """Σ (z − μ)²."""

    def add(self, rows: Tensor) -> None:
        """Include `rows` [n, features]."""
        new, count = rows.double(), self.count + len(rows)
        mean = new.mean(0)
        apart = mean - self.mean
        self.squares = (
            self.squares + (new - mean).square().sum(0) + apart.square() * self.count * len(rows) / count
        )
        self.mean = self.mean + apart * len(rows) / count
        self.count = count

    def normalised(self, rows: Tensor) -> Tensor:
        """(rows − μ) / (σ + ε), in fp64."""
        deviation = (self.squares / max(self.count, 1)).sqrt()
        return (rows.double() - self.mean) / (deviation + EPSILON)


@dataclass
class Normalisation:
    """The running statistics of every layer: of h, and of ∇y."""

    read: dict[int, Running] = field(default_factory=dict)
    written: dict[int, Running] = field(default_factory=dict)

    def add(self, layer: int, h: Tensor, gradient: Tensor) -> None:
        self.read.setdefault(layer, Running()).add(h)
        self.written.setdefault(layer, Running()).add(gradient)

    def values(self, layer: int, h: Tensor, gradient: Tensor, lr: float) -> Tensor:
        """v = −η ‖h̃‖² ∇ỹ [t, d]."""
        scale = self.read[layer].normalised(h).square().sum(1, keepdim=True)
        return -lr * scale * self.written[layer].normalised(gradient)


class NormalEquations:
    """Hᵀ H [d_k, d_k] and Hᵀ V [d_k, d], summed over blocks of rows."""

    def __init__(self) -> None:
        self.normal: Tensor = torch.zeros(())
        self.cross: Tensor = torch.zeros(())
        self._waiting: list[tuple[Tensor, Tensor]] = []

    def add(self, rows: Tensor, values: Tensor) -> None:
        """Include the rows of H [t, d_k] and of V [t, d]; a product is taken once there are enough of them."""
        self._waiting.append((rows, values))
        if sum(len(own) for own, _ in self._waiting) >= BLOCK:
            self._multiply()

    def _multiply(self) -> None:
        h, v = (torch.cat(parts) for parts in zip(*self._waiting, strict=True))
        self.normal, self.cross = h.T @ h + self.normal, h.T @ v + self.cross
        self._waiting.clear()

    def solved(self, l2: float) -> Tensor:
        """(Hᵀ H + α I)⁻¹ Hᵀ V [d_k, d] with α = `l2`."""
        if self._waiting:
            self._multiply()
        self.normal.diagonal().add_(l2)
        factor, _ = factorise(self.normal)
        return torch.cholesky_solve(self.cross, factor)


@torch.no_grad()
def updates(
    texts: Sequence[FactText],
    progress: Progress = silent,
    *,
    store: FeatureStore,
    statistics: Normalisation,
    options: OneGradientOptions,
) -> dict[int, Tensor]:
    """Layer → Δᵀ [d_k, d] in fp64; the features of `texts` enter `statistics` first."""
    for text in texts:
        for layer, (h, gradient) in store.read(text).items():
            statistics.add(layer, h, gradient)
    fits: dict[int, NormalEquations] = {}
    for done, text in enumerate(texts, start=1):
        for layer, (h, gradient) in store.read(text).items():
            fits.setdefault(layer, NormalEquations()).add(
                h.double(), statistics.values(layer, h, gradient, options.lr)
            )
        progress("keys", done, len(texts))
    return {layer: fit.solved(options.l2) for layer, fit in fits.items()}


class OneGradient:
    """One-gradient editing; `edit` is one turn, and the running statistics go on from one call to the next."""

    def __init__(self) -> None:
        self.statistics = Normalisation()

    def edit(
        self,
        model: Any,
        tokenizer: Any,
        inputs: BuildInputs,
        *,
        planned: Planned = proceed,
        progress: Progress = silent,
    ) -> EditResult:
        """Edit all requests of `inputs` in one turn; the model is left as it was."""
        return GradientEditor(self._turn).edit(model, tokenizer, inputs, planned=planned, progress=progress)

    def estimate(self, model: Any, tokenizer: Any, inputs: BuildInputs) -> Preflight:
        """Estimate the cost of `edit` with the same inputs."""
        return GradientEditor(self._turn).estimate(model, tokenizer, inputs)

    def _turn(self, model: Any, tokenizer: Any, inputs: BuildInputs, failed: Failed | None) -> GradientTurn:
        options = read_options(OneGradientOptions, inputs.settings)
        place = place_of(model, tokenizer, inputs, first=options.first_layer, last=options.last_layer)
        texts, store = locate_facts(place, inputs, failed), FeatureStore.of(place, inputs)
        layers, d = len(place.layers), place.parts.width
        width = max(place.parts.key_width(layer) for layer in place.layers)
        rows = sum(map(store.count, texts))
        return GradientTurn(
            place,
            texts,
            store,
            partial(updates, store=store, statistics=self.statistics, options=options),
            solve_flops=layers * (2.0 * rows * width * (width + d) + width**3 / 3 + 2.0 * width**2 * d),
            solve_bytes=layers * 8 * (2 * width**2 + 2 * width * d),
        )


def edit(
    model: Any,
    tokenizer: Any,
    inputs: BuildInputs,
    *,
    planned: Planned = proceed,
    progress: Progress = silent,
) -> EditResult:
    """Edit the whole view in one turn."""
    return OneGradient().edit(model, tokenizer, inputs, planned=planned, progress=progress)


def estimate(model: Any, tokenizer: Any, inputs: BuildInputs) -> Preflight:
    """Estimate the cost of `edit` with the same inputs."""
    return OneGradient().estimate(model, tokenizer, inputs)


ONE_GRADIENT = Editor(reuse="fact", edit=edit, estimate=estimate)
"""The features of a fact depend on the base and on its text."""
