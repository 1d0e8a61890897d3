"""The serial algorithm in the place of `editing.build`: the same texts and settings, edit after edit.

So that the engine's quality can be held against it on a model that knows facts.  Its keys are
averaged over contexts, as the paper has it (19).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.engine_serial import SerialMemit
from editing.memit.build import Built
from editing.memit.deltas import Delta
from editing.memit.groups import form_groups
from editing.memit.prefixes import context_prefixes
from editing.memit.statistics import second_moments
from editing.model.architectures import locate_parts
from editing.model.hooks import frozen
from editing.requests import EditRequest
from editing.settings import EditSettings


def serial_build(
    model: Any,
    tokenizer: Any,
    requests: Sequence[EditRequest],
    settings: EditSettings,
    *,
    cache: Path,
    base_digest: str,
    corpus: Sequence[Path],
    kl_prompts: Mapping[str, Sequence[str]],
) -> Built:
    """As `editing.build.build`, but for progress and reuse."""
    parts, layers = locate_parts(model), settings.layers
    prefixes = context_prefixes(model, tokenizer, settings, base_digest=base_digest, cache=cache)
    moments = second_moments(
        model, tokenizer, parts, layers, settings, corpus=corpus, base_digest=base_digest, cache=cache
    )
    groups = form_groups(tokenizer, requests, prefixes=prefixes, kl_prompts=kl_prompts, identity={})
    start = time.perf_counter()
    with frozen(model):
        run = SerialMemit(model, parts, settings, layers).run(groups, moments.load, time.perf_counter)
    own = dict(model.named_parameters())
    growth = {
        f"growth_{layer}": float((run.tensors[name].norm() / own[name].norm()).detach())
        for layer, name in ((layer, parts.weight_name(layer)) for layer in layers)
    }
    deltas = {group.key: Delta(delta, 0.0, 0.0, 0) for group, delta in zip(groups, run.deltas, strict=True)}
    owners = {request.id: group.key for group in groups for request in group.requests}
    cost = growth | {"seconds_serial": time.perf_counter() - start}
    return Built(run.tensors, owners, deltas, layers[-1], tuple(layers), prefixes, parts.architecture, cost)
