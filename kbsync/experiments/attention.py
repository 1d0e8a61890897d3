"""MEMIT that writes to the attention's output projection instead of the MLP's (Figure 13), for comparison only.

The δs are those of an ordinary edit.  Keys are the inputs of the projection at the subject's last token, with
statistics of their own; λ is chosen so that an edit realises the share of its residual that it realises in the MLP.
In most architectures the MLP of the same block reads what the attention wrote, so the block's output changes by more
than was written.  That is why this is no editor: a base is refused whose writer does not write as predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from editing.cost import Cost
from editing.editors.contract import BuildInputs, EditResult
from editing.errors import ArchitectureError, EditingError
from editing.memit.groups import Group
from editing.memit.keys import Site
from editing.memit.optimise import Targets
from editing.memit.preparation import Job, prepare
from editing.memit.scale import scale_of
from editing.memit.solvers import LeastSquares
from editing.memit.spread import spread
from editing.memit.statistics import Statistics
from editing.model.architectures import Architecture, Parts, locate_parts
from editing.model.devices import device_of
from editing.model.hooks import frozen, fused
from editing.model.weights import restored
from editing.progress import Progress, silent
from editing.tracing.interventions import attention_of

OUTPUTS = ("o_proj", "c_proj", "out_proj", "dense", "wo")
"""What architectures call the attention's output projection."""


def attention_parts(parts: Parts, model: Any) -> Parts:
    """The model's parts with the attention's output projection as the writer; raises ArchitectureError."""
    block = parts.blocks[0]
    attention = attention_of(block)
    owner = next(name for name, part in block.named_modules() if part is attention)
    found = [
        name
        for name, part in attention.named_modules()
        if name.rpartition(".")[2] in OUTPUTS and isinstance(part, nn.Linear | Conv1D)
    ]
    if not found:
        raise ArchitectureError(f"no output projection was found in the attention module {owner!r}")
    return locate_parts(model, Architecture(parts.architecture.blocks, f"{owner}.{found[0]}"))


def edit_attention(
    model: Any, tokenizer: Any, inputs: BuildInputs, *, progress: Progress = silent
) -> EditResult:
    """Edit the attention of the layers that `inputs.settings` edits the MLPs of; raises EditingError."""
    failed: dict[str, EditingError] = {}
    with frozen(model), fused(model):
        job = prepare(model, tokenizer, inputs, failed.setdefault)
        groups, deltas = Targets(job, progress).of(job.groups)
        own = attention_parts(job.work.parts, model)
        # A directory of its own: what is stored there is named by layer, and these are not the MLPs' keys.
        statistics = Statistics(
            model,
            tokenizer,
            inputs.settings,
            corpus=inputs.corpus,
            base_digest=inputs.base_digest,
            cache=inputs.cache / "attention",
        )
        moments = statistics.compute(own, job.work.layers, progress)
        attention = replace(job, work=replace(job.work, parts=own))
        lam = _fair(job, attention, groups, (job.statistics, statistics))
        site = Site(model, own, job.work.layers, inputs.settings)
        stacked = torch.stack([deltas[group.key].value for group in groups]).to(
            device_of(own.blocks[job.layer])
        )
        with restored(model, [own.weight_name(layer) for layer in job.work.layers]):
            result = spread(site, groups, stacked, LeastSquares(moments, lam), progress=progress)
    return EditResult(
        tensors=result.tensors,
        layers=job.work.layers,
        cost=Cost(growth=result.growth, ridges=result.ridges, lam=lam),
        groups={request.id: group.key for group in groups for request in group.requests},
        failed=failed,
    )


def _fair(
    job: Job, attention: Job, groups: Sequence[Group], statistics: tuple[Statistics, Statistics]
) -> float:
    """λ times the ratio of the leverages of attention keys and MLP keys."""
    layers = job.work.layers
    mlp = scale_of(job, statistics[0].compute(job.work.parts, layers), groups)
    other = scale_of(attention, statistics[1].compute(attention.work.parts, layers), groups)
    return mlp.lam * sum(other.leverage.values()) / sum(mlp.leverage.values())
