"""The serial algorithm as an editor in the place of MEMIT's engine: the same texts and settings, edit after edit.

So that the engine's quality can be held against it on a model that knows facts.  Its keys are
averaged over contexts, as the paper has it (19).
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.engine_serial import SerialMemit
from editing.cost import Cost
from editing.editors.contract import BuildInputs, Injection
from editing.memit.build import MemitResult
from editing.memit.deltas import Delta
from editing.memit.groups import form_groups
from editing.memit.prefixes import context_prefixes
from editing.memit.statistics import Statistics
from editing.model.architectures import locate_parts
from editing.model.hooks import frozen


def serial_build(model: Any, tokenizer: Any, inputs: BuildInputs) -> MemitResult:
    """As `editing.memit.build.build`, but for progress and reuse."""
    settings, shared = inputs.settings, {"base_digest": inputs.base_digest, "cache": inputs.cache}
    parts, layers = locate_parts(model), settings.layers
    prefixes = context_prefixes(model, tokenizer, settings, **shared)
    statistics = Statistics(model, tokenizer, settings, corpus=inputs.corpus, **shared)
    moments = statistics.compute(parts, layers)
    groups = form_groups(
        tokenizer, inputs.requests, prefixes=prefixes, kl_prompts=inputs.kl_prompts, identity={}
    )
    start = time.perf_counter()
    with frozen(model):
        run = SerialMemit(model, parts, settings, layers).run(groups, moments.load, time.perf_counter)
    own = dict(model.named_parameters())
    growth = {
        layer: float((run.tensors[name].norm() / own[name].norm()).detach())
        for layer, name in ((layer, parts.weight_name(layer)) for layer in layers)
    }
    return MemitResult(
        tensors=run.tensors,
        layers=tuple(layers),
        cost=Cost(seconds={"serial": time.perf_counter() - start}, growth=growth),
        groups={request.id: group.key for group in groups for request in group.requests},
        deltas={g.key: Delta(delta, 0.0, 0.0, 0) for g, delta in zip(groups, run.deltas, strict=True)},
        injection=Injection(
            parts.architecture.blocks,
            layers[-1],
            {group.key: delta for group, delta in zip(groups, run.deltas, strict=True)},
        ),
        layer=layers[-1],
        prefixes=prefixes,
    )
