"""A whole editor of somebody else: it fine-tunes one matrix."""

from __future__ import annotations

import time
from typing import Any

import torch

from editing.cost import Cost
from editing.editors.contract import BuildInputs, Editor, EditResult, Planned, proceed
from editing.model.architectures import locate_parts
from editing.model.hooks import frozen
from editing.model.tokens import locate, passage
from editing.model.weights import copies_of, parameter_named, restored
from editing.preflight import Preflight
from editing.progress import Progress, silent


def fine_tune(
    model: Any,
    tokenizer: Any,
    inputs: BuildInputs,
    *,
    planned: Planned = proceed,
    progress: Progress = silent,
) -> EditResult:
    """Gradient descent on W_out of the last layer of R, until its steps are done."""
    expected = estimate(model, tokenizer, inputs)
    planned(expected)
    start, steps = time.perf_counter(), inputs.settings.steps
    parts = locate_parts(model)
    layer = (inputs.settings.layers or parts.default_layers())[-1]
    name = parts.weight_name(layer)
    texts = locate(tokenizer, [passage(request) for request in inputs.requests])
    weight = parameter_named(model, name)
    norm = float(weight.detach().norm())
    with frozen(model), restored(model, [name]):
        weight.requires_grad_(True)
        optimiser = torch.optim.Adam([weight], lr=inputs.settings.options.get("lr", 1e-3))
        for step in range(steps):
            optimiser.zero_grad()
            for text in texts:
                logp = model(torch.tensor([text.ids], device=model.device)).logits[0].log_softmax(-1)
                said = range(text.target - 1, len(text.ids) - 1)
                (-logp[said, text.ids[text.target :]].mean()).backward()
            optimiser.step()
            progress("targets", step + 1, steps)
        weight.requires_grad_(False)
        tensors = copies_of(model, [name])
    cost = Cost(
        seconds={"targets": time.perf_counter() - start},
        growth={layer: float(tensors[name].norm()) / norm},
        preflight=expected,
    )
    return EditResult(tensors=tensors, layers=(layer,), cost=cost)


def estimate(model: Any, tokenizer: Any, inputs: BuildInputs) -> Preflight:
    """Nothing is cached: all facts are learnt again in every build."""
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return Preflight(
        groups=len(inputs.requests),
        optimised=len(inputs.requests),
        statistics=0,
        floor_flops=0.0,
        bytes_model=size,
        bytes_batch=size,
        bytes_statistics=0,
        bytes_solve=0,
        seconds_targets=0.05 * inputs.settings.steps * len(inputs.requests),
        seconds_statistics=0.0,
        seconds_keys=0.0,
        rate=0.0,
        assumed=0,
    )


FINE_TUNE = Editor(reuse="view", edit=fine_tune, estimate=estimate)
