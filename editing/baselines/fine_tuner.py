"""Fine-tuning of one matrix as an editor: the texts, the estimate, the training, and the weights restored."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from editing.baselines.fine_tuning import PHASE, FineTuning, TooLarge, TrainingPlan
from editing.baselines.locating import FactText, Place, locate_facts, place_of
from editing.baselines.options import read_options
from editing.cost import Cost
from editing.editors.contract import BuildInputs, Editor, EditResult, Failed, Planned, fail_requests, proceed
from editing.errors import EditingError
from editing.memit.cost import ASSUMED, block_flops, machine_rate
from editing.memit.rates import Rates
from editing.model.devices import device_of
from editing.model.hooks import frozen, fused
from editing.model.weights import growth, parameter_named, restored
from editing.preflight import Preflight, check_disk, existing
from editing.progress import Progress, silent


class FineTuningOptions(Protocol):
    """The hyper-parameters of an editor that fine-tunes."""

    @property
    def layer(self) -> int:
        """Layer that is trained; −1: L, the last of R."""

    def schedule(self, facts: int) -> TrainingPlan:
        """How `facts` facts are learnt."""


@dataclass(frozen=True)
class FineTuner:
    """An editor that trains W_out of one layer on the whole view, from the base."""

    options: Callable[..., FineTuningOptions]

    @property
    def editor(self) -> Editor:
        """Nothing is cached: the result depends on the view as a whole."""
        return Editor(reuse="view", edit=self.edit, estimate=self.estimate)

    def edit(
        self,
        model: Any,
        tokenizer: Any,
        inputs: BuildInputs,
        *,
        planned: Planned = proceed,
        progress: Progress = silent,
    ) -> EditResult:
        """Train on all requests of `inputs` from the model's weights, and restore them.

        A text that does not fit in memory even alone is left out, as if it had not been requested, where
        `inputs.partial` allows that.
        """
        failed: dict[str, EditingError] = {}
        report = inputs.reporter(failed)
        began = time.perf_counter()
        with frozen(model), fused(model):
            place, texts, plan = self._prepared(model, tokenizer, inputs, report)
            rates = Rates.of(model, inputs.base_digest, inputs.cache)
            expected = preflight(place, texts, plan, rates, inputs)
            planned(expected)
            check_disk(expected, inputs.cache)
            texts, tensors = _trained(place, texts, plan, inputs.settings.seed, report, progress)
        seconds = time.perf_counter() - began
        if tensors:
            rates.learn({PHASE: flops(place, texts, plan)}, {PHASE: seconds})
        before = parameter_named(model, place.name)
        grown = {place.layer: growth(before, tensors[place.name])} if tensors else {}
        cost = Cost(
            groups=len(texts),
            groups_optimised=len(texts),
            seconds={"targets": seconds},
            growth=grown,
            preflight=expected,
        )
        return EditResult(tensors=tensors, layers=(place.layer,), cost=cost, failed=failed)

    def estimate(self, model: Any, tokenizer: Any, inputs: BuildInputs) -> Preflight:
        """Estimate the cost of `edit` with the same inputs."""
        with frozen(model), fused(model):
            place, texts, plan = self._prepared(model, tokenizer, inputs, inputs.reporter({}))
            return preflight(place, texts, plan, Rates.of(model, inputs.base_digest, inputs.cache), inputs)

    def _prepared(
        self, model: Any, tokenizer: Any, inputs: BuildInputs, failed: Failed | None
    ) -> tuple[Place, list[FactText], TrainingPlan]:
        options = read_options(self.options, inputs.settings)
        place = place_of(model, tokenizer, inputs, first=options.layer, last=options.layer).topmost()
        texts = locate_facts(place, inputs, failed)
        plan = options.schedule(len(texts))
        return place, [text.ending(place.end) for text in texts] if plan.ends else texts, plan


def _trained(
    place: Place,
    texts: list[FactText],
    plan: TrainingPlan,
    seed: int,
    failed: Failed | None,
    progress: Progress,
) -> tuple[list[FactText], dict[str, Tensor]]:
    """(the texts that were learnt, the trained matrix by name); the model is restored."""
    while texts:
        try:
            with restored(place.model, [place.name]):
                return texts, {place.name: FineTuning(place, texts, plan, seed).run(progress)}
        except TooLarge as large:
            fail_requests(None if len(texts) == 1 else failed, large.text.requests, large.error)
            texts = [text for text in texts if text is not large.text]
    return [], {}


def flops(place: Place, texts: Sequence[FactText], plan: TrainingPlan) -> float:
    """FLOPs if no epoch ends early: a pass through all blocks, and one back to the layer that is trained."""
    blocks = [block_flops(block) for block in place.parts.blocks]
    head = sum(2 * weight.numel() for weight in place.parts.head.parameters() if weight.dim() == 2)
    tokens = sum(len(text.ids) for text in texts)
    read = sum(len(text.ids) - text.target for text in texts)
    return float(plan.epochs) * (tokens * (sum(blocks) + sum(blocks[place.layer :])) + 2 * read * head)


def preflight(
    place: Place, texts: Sequence[FactText], plan: TrainingPlan, rates: Rates, inputs: BuildInputs
) -> Preflight:
    """Estimate memory and time; every fact is learnt again in every build."""
    model, work, known = place.model, flops(place, texts, plan), rates.known()
    device = device_of(place.parts.blocks[place.layer])
    rate = 0.0 if PHASE in known else machine_rate(device, model.dtype) * ASSUMED["targets"]
    parameter = parameter_named(model, place.name)
    batch = sorted((place.text_bytes(text) for text in texts), reverse=True)[: plan.batch]
    return Preflight(
        groups=len(texts),
        optimised=len(texts),
        statistics=0,
        floor_flops=work,
        bytes_model=sum(p.numel() * p.element_size() for p in model.parameters()),
        # Adam's two moments, the matrix in training and its gradient, twice; the activations of one pass.
        bytes_batch=int(5 * parameter.numel() * 4 + min(sum(batch), place.free_bytes() // 2)),
        bytes_statistics=0,
        bytes_solve=0,
        seconds_targets=work / (known.get(PHASE) or rate),
        seconds_statistics=0.0,
        seconds_keys=0.0,
        rate=rate,
        assumed=0 if PHASE in known else 1,
        bytes_cache=0,
        bytes_result=place.editable_bytes(),
        bytes_free=shutil.disk_usage(existing(inputs.cache)).free,
    )
