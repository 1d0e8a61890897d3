"""One-gradient editing (UltraEdit, arXiv 2505.14679): a closed-form update from one backward pass a fact.

For each position i that predicts a token of a target, z_i = [h_i ‖ ∇y_i] is what W_out reads and the gradient of what
it writes (`features.py`).  *Lifelong normalisation* maintains mean μ and deviation σ of z over all edits so far, and
z̃ = (z − μ) / (σ + ε).  With the values v_i = −η ‖h̃_i‖² ∇ỹ_i, a layer's update is a regularised least-squares fit,

    Δᵀ = (Hᵀ H + α I)⁻¹ Hᵀ V.

A view is one turn: all features are those of the base, so each fact's are cached, and the order of facts plays no
part.  In sequence (`one_gradient_sequence`), features are read from the weights of the turn before, and μ and σ run on.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from editing.baselines.features import Feature, FeatureStore, Lost
from editing.baselines.locating import AUTO_LAYER, FactText, Place, locate_facts, place_of
from editing.baselines.options import option, read_options
from editing.cost import Cost
from editing.editors.contract import BuildInputs, Editor, EditResult, Planned, proceed
from editing.errors import EditingError
from editing.memit.cost import ASSUMED, BLOCK, HEADER, block_flops, matrix_rate
from editing.memit.groups import Failed
from editing.memit.rates import Rates
from editing.memit.solve import factorise
from editing.model.hooks import frozen, fused
from editing.model.memory import free_bytes
from editing.model.weights import parameter_named
from editing.preflight import Preflight, check_disk, existing
from editing.progress import Progress, silent

PHASE = "gradients"
"""Name of the phase whose rate builds learn."""
EPSILON = 1e-8
"""Added to σ."""


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


@dataclass(frozen=True)
class Turn:
    """One turn: the facts that are edited together."""

    place: Place
    texts: list[FactText]
    store: FeatureStore
    options: OneGradientOptions

    @torch.no_grad()
    def updates(self, statistics: Normalisation, progress: Progress = silent) -> dict[int, Tensor]:
        """Layer → Δᵀ [d_k, d] in fp64; the turn's features enter `statistics` first."""
        for text in self.texts:
            for layer, (h, gradient) in self._features(text).items():
                statistics.add(layer, h, gradient)
        normal: dict[int, Tensor] = {}
        cross: dict[int, Tensor] = {}
        for done, text in enumerate(self.texts, start=1):
            for layer, (h, gradient) in self._features(text).items():
                values = statistics.values(layer, h, gradient, self.options.lr)
                h = h.double()
                normal[layer] = h.T @ h + normal.get(layer, 0.0)
                cross[layer] = h.T @ values + cross.get(layer, 0.0)
            progress("keys", done, len(self.texts))
        found = {}
        for layer in normal:
            normal[layer].diagonal().add_(self.options.l2)
            factor, _ = factorise(normal[layer])
            found[layer] = torch.cholesky_solve(cross[layer], factor)
        return found

    def _features(self, text: FactText) -> Feature:
        found = self.store.load(text)
        while found is None:  # damaged since it was computed
            self.store.fill([text], None)
            found = self.store.load(text)
        return found


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
        failed: dict[str, EditingError] = {}
        report = failed.setdefault if inputs.partial else None
        began = time.perf_counter()
        with frozen(model), fused(model):
            turn = prepare_turn(model, tokenizer, inputs, report)
            rates = Rates.of(model, inputs.base_digest, inputs.cache)
            missing = turn.store.missing(turn.texts)
            expected = preflight(turn, missing, rates, inputs)
            planned(expected)
            check_disk(expected, inputs.cache)
            usable = turn.store.fill(turn.texts, report and _reporter(report), progress)
            read = time.perf_counter()
            updates = replace(turn, texts=usable).updates(self.statistics, progress)
            tensors, growth = _written(turn.place, updates)
        seconds = {"targets": read - began, "keys": time.perf_counter() - read}
        rates.learn({PHASE: gradient_flops(turn.place, missing)}, {PHASE: seconds["targets"]})
        cost = Cost(
            groups=len(turn.texts),
            groups_optimised=len(missing),
            groups_cached=len(turn.texts) - len(missing),
            seconds=seconds,
            growth=growth,
            preflight=expected,
        )
        return EditResult(tensors=tensors, layers=turn.place.layers, cost=cost, failed=failed)


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
    with frozen(model), fused(model):
        turn = prepare_turn(model, tokenizer, inputs, (lambda id, error: None) if inputs.partial else None)
        rates = Rates.of(model, inputs.base_digest, inputs.cache)
        return preflight(turn, turn.store.missing(turn.texts), rates, inputs)


def prepare_turn(model: Any, tokenizer: Any, inputs: BuildInputs, failed: Failed | None) -> Turn:
    """Tokenise the requests and look up their features in the cache."""
    options = read_options(OneGradientOptions, inputs.settings)
    place = place_of(model, tokenizer, inputs, first=options.first_layer, last=options.last_layer)
    return Turn(place, locate_facts(place, inputs, failed), FeatureStore.of(place, inputs), options)


def _reporter(failed: Failed) -> Lost:
    def lost(text: FactText, error: EditingError) -> None:
        for id in text.requests:
            failed(id, error)

    return lost


@torch.no_grad()
def _written(place: Place, updates: dict[int, Tensor]) -> tuple[dict[str, Tensor], dict[int, float]]:
    """(new weights by name, ‖W + Δ‖ / ‖W‖ by layer)."""
    tensors, growth = {}, {}
    for layer, update in updates.items():
        name = place.parts.weight_name(layer)
        weight = parameter_named(place.model, name).detach()
        changed = weight.double() + (update if place.parts.transposed(layer) else update.T)
        growth[layer] = float(changed.norm() / weight.double().norm())
        tensors[name] = changed.to(weight.dtype)
    return tensors, growth


def gradient_flops(place: Place, texts: Sequence[FactText]) -> float:
    """FLOPs of one pass through all blocks, and one back to the first layer that is edited."""
    blocks = [block_flops(block) for block in place.parts.blocks]
    tokens = sum(len(text.ids) for text in texts)
    return float(tokens * (sum(blocks) + sum(blocks[place.layers[0] :])))


def preflight(turn: Turn, missing: Sequence[FactText], rates: Rates, inputs: BuildInputs) -> Preflight:
    """Estimate memory, disk and time; `missing` are the texts whose features are not cached."""
    place, known = turn.place, rates.known()
    parts, model, layers = place.parts, place.model, place.layers
    width, d = max(parts.key_width(layer) for layer in layers), parts.width
    item = max(model.dtype.itemsize, 4)
    rows = sum(len(text.ids) - text.target for text in turn.texts)
    stored = sum((len(text.ids) - text.target) * (width + d) * item for text in missing) * len(layers)
    work = gradient_flops(place, missing)
    solving = len(layers) * (2.0 * rows * width * (width + d) + width**3 / 3 + 2.0 * width**2 * d)
    rate = matrix_rate(model.device, model.dtype)
    return Preflight(
        groups=len(turn.texts),
        optimised=len(missing),
        statistics=0,
        floor_flops=work,
        bytes_model=sum(p.numel() * p.element_size() for p in model.parameters()),
        bytes_batch=min(sum(map(place.text_bytes, missing)), free_bytes(model.device) // 2),
        bytes_statistics=0,
        bytes_solve=len(layers) * 8 * (2 * width**2 + 2 * width * d),
        seconds_targets=work / known.get(PHASE, rate * ASSUMED["targets"]),
        seconds_statistics=0.0,
        seconds_keys=solving / (rate * ASSUMED["keys"]),
        rate=rate * ASSUMED["targets"],
        assumed=1 if PHASE in known else 2,
        bytes_cache=stored + len(missing) * (HEADER + BLOCK),
        bytes_result=place.editable_bytes(),
        bytes_free=shutil.disk_usage(existing(inputs.cache)).free,
    )


ONE_GRADIENT = Editor(reuse="fact", edit=edit, estimate=estimate)
"""The features of a fact depend on the base and on its text."""
