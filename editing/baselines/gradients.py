"""Editors that read one gradient a fact: what one-gradient editing and MEND have in common."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editing.baselines.features import FeatureStore
from editing.baselines.locating import FactText, Place
from editing.cost import Cost
from editing.editors.contract import BuildInputs, Editor, EditResult, Failed, Planned, proceed
from editing.errors import EditingError
from editing.memit.cost import ASSUMED, BLOCK, HEADER, block_flops, machine_rate
from editing.memit.rates import Rates
from editing.model.devices import device_of
from editing.model.hooks import frozen, fused
from editing.model.weights import growth, parameter_named
from editing.preflight import Preflight, check_disk, existing
from editing.progress import Progress, silent

PHASE = "gradients"
"""Name of the phase whose rate builds learn."""


@dataclass(frozen=True)
class GradientTurn:
    """The facts that are edited together, and how their features become updates."""

    place: Place
    texts: list[FactText]
    store: FeatureStore
    updates: Callable[[Sequence[FactText], Progress], dict[int, Tensor]]
    """Layer → Δᵀ [d_k, d] in fp64, from texts whose features are in the store."""
    solve_flops: float = 0.0
    """Arithmetic of `updates` for all texts."""
    solve_bytes: int = 0
    """Memory of `updates`."""


Prepare = Callable[[Any, Any, BuildInputs, Failed | None], GradientTurn]
"""(model, tokenizer, inputs, failed) → the turn: requests are tokenised, and options validated."""


@dataclass(frozen=True)
class GradientEditor:
    """An editor whose only expensive part is one forward and one backward pass a fact."""

    prepare: Prepare

    @property
    def editor(self) -> Editor:
        """The features of a fact depend on the base and on its text."""
        return Editor(reuse="fact", edit=self.edit, estimate=self.estimate)

    def edit(
        self,
        model: Any,
        tokenizer: Any,
        inputs: BuildInputs,
        *,
        planned: Planned = proceed,
        progress: Progress = silent,
    ) -> EditResult:
        """Edit all requests of `inputs` at once; the model is left as it was."""
        failed: dict[str, EditingError] = {}
        report = inputs.reporter(failed)
        began = time.perf_counter()
        with frozen(model), fused(model):
            turn = self.prepare(model, tokenizer, inputs, report)
            rates = Rates.of(model, inputs.base_digest, inputs.cache)
            missing = turn.store.missing(turn.texts)
            expected = preflight(turn, missing, rates, inputs)
            planned(expected)
            check_disk(expected, inputs.cache)
            usable = turn.store.fill(turn.texts, report, progress)
            read = time.perf_counter()
            tensors, grown = _written(turn.place, turn.updates(usable, progress))
        seconds = {"targets": read - began, "keys": time.perf_counter() - read}
        rates.learn({PHASE: gradient_flops(turn.place, missing)}, {PHASE: seconds["targets"]})
        cost = Cost(
            groups=len(turn.texts),
            groups_optimised=len(missing),
            groups_cached=len(turn.texts) - len(missing),
            seconds=seconds,
            growth=grown,
            preflight=expected,
        )
        return EditResult(tensors=tensors, layers=turn.place.layers, cost=cost, failed=failed)

    def estimate(self, model: Any, tokenizer: Any, inputs: BuildInputs) -> Preflight:
        """Estimate the cost of `edit` with the same inputs."""
        with frozen(model), fused(model):
            turn = self.prepare(model, tokenizer, inputs, inputs.reporter({}))
            rates = Rates.of(model, inputs.base_digest, inputs.cache)
            return preflight(turn, turn.store.missing(turn.texts), rates, inputs)


@torch.no_grad()
def _written(place: Place, updates: dict[int, Tensor]) -> tuple[dict[str, Tensor], dict[int, float]]:
    """(new weights by name, ‖W + Δ‖ / ‖W‖ by layer)."""
    tensors, grown = {}, {}
    for layer, update in updates.items():
        name = place.parts.weight_name(layer)
        weight = parameter_named(place.model, name).detach()
        changed = weight.double() + (update if place.parts.transposed(layer) else update.T)
        grown[layer] = growth(weight, changed)
        tensors[name] = changed.to(weight.dtype)
    return tensors, grown


def gradient_flops(place: Place, texts: Sequence[FactText]) -> float:
    """FLOPs of one pass through all blocks, and one back to the first layer that is edited."""
    blocks = [block_flops(block) for block in place.parts.blocks]
    tokens = sum(len(text.ids) for text in texts)
    return float(tokens * (sum(blocks) + sum(blocks[place.layers[0] :])))


def preflight(
    turn: GradientTurn, missing: Sequence[FactText], rates: Rates, inputs: BuildInputs
) -> Preflight:
    """Estimate memory, disk and time; `missing` are the texts whose features are not cached."""
    place, known, model = turn.place, rates.known(), turn.place.model
    width = max(place.parts.key_width(layer) for layer in place.layers) + place.parts.width
    rows = sum(turn.store.count(text) for text in missing)
    stored = rows * width * max(model.dtype.itemsize, 4) * len(place.layers)
    work = gradient_flops(place, missing)
    rate = machine_rate(device_of(place.parts.blocks[place.layer]), model.dtype)
    return Preflight(
        groups=len(turn.texts),
        optimised=len(missing),
        statistics=0,
        floor_flops=work,
        bytes_model=sum(p.numel() * p.element_size() for p in model.parameters()),
        bytes_batch=min(sum(map(place.text_bytes, missing)), place.free_bytes() // 2),
        bytes_statistics=0,
        bytes_solve=turn.solve_bytes,
        seconds_targets=work / known.get(PHASE, rate * ASSUMED["targets"]),
        seconds_statistics=0.0,
        seconds_keys=turn.solve_flops / (rate * ASSUMED["keys"]),
        rate=rate * ASSUMED["targets"],
        assumed=1 if PHASE in known else 2,
        bytes_cache=stored + len(missing) * (HEADER + BLOCK),
        bytes_result=place.editable_bytes(),
        bytes_free=shutil.disk_usage(existing(inputs.cache)).free,
    )
