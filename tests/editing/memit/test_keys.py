"""A layer's pass over the keys resumes where the one before left off, and sees the same as one from the bottom."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import pytest
import torch
from torch import Tensor

import editing.memit.keys
from editing.memit.groups import form_groups
from editing.memit.keys import Collector, Site
from editing.model.architectures import locate_parts
from editing.model.hooks import frozen, on_input
from editing.requests import EditRequest
from editing.settings import EditSettings
from tests.support.zoo import SHAPES, TOKENIZERS, tiny, tokenizer

PREFIXES = ("The rain in Rome", "Because you know")
LAYERS = (1, 2, 3)


def collected(
    model: Any, kind: str, memory: float, keys: Any = "all", count: int = 5
) -> tuple[list[Tensor], list[int]]:
    """Keys and residuals of every layer, each asked for after the one below was changed; passes a block saw."""
    parts = locate_parts(model)
    requests = [
        EditRequest(str(index), "The capital of {} is", name, "Rome")
        for index, name in enumerate(("Jonas", "Marie Curie", "São Paulo", "日本", "Norway")[:count])
    ]
    groups = form_groups(tokenizer(kind), requests, prefixes=PREFIXES, kl_prompts={}, identity={})
    deltas = torch.randn(len(groups), parts.width, generator=torch.Generator().manual_seed(0)).double()
    settings = EditSettings(layers=LAYERS, keys=keys)
    seen: list[Tensor] = []
    passes = [0] * len(parts.blocks)

    def counting(index: int) -> Any:
        def see(states: Tensor) -> None:
            passes[index] += 1

        return see

    weights = {layer: parts.writer(layer).weight for layer in LAYERS}
    before = {layer: weight.detach().clone() for layer, weight in weights.items()}
    with frozen(model), torch.no_grad():
        collector = Collector(Site(model, parts, LAYERS, settings), groups, deltas, memory=memory)
        hooks = [on_input(parts.writer(index), counting(index)) for index in range(len(parts.blocks))]
        for hook in hooks:
            hook.__enter__()
        for layer in LAYERS:
            seen += collector.stacked(layer, 0.5, first=layer == LAYERS[0])
            weights[layer].mul_(1.1)
        for hook in hooks:
            hook.__exit__(None, None, None)
        for layer, weight in weights.items():
            weight.copy_(before[layer])
    return seen, passes


@pytest.mark.parametrize(("architecture", "kind"), list(zip(sorted(SHAPES), cycle(TOKENIZERS), strict=False)))
@pytest.mark.parametrize("keys", ["all", "average"])
def test_resuming_sees_what_a_pass_from_the_bottom_sees(architecture: str, kind: str, keys: str) -> None:
    model = tiny(architecture, num_hidden_layers=5) if architecture == "llama" else tiny(architecture)
    resumed, short = collected(model, kind, float("inf"), keys)
    recomputed, whole = collected(model, kind, 0.0, keys)
    for ours, reference in zip(resumed, recomputed, strict=True):
        assert float((ours - reference).norm()) <= 1e-10 * float(reference.norm())
    assert short[0] * len(LAYERS) == whole[0], "the lowest block runs once, not once a layer"


def test_what_was_left_by_a_batch_that_had_to_be_halved_is_not_mistaken_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny("gpt2")
    whole, _ = collected(model, "byte-bpe", float("inf"))
    look, failing = Collector._look, [True]

    def once_out_of_memory(self: Collector, chunk: Any, context: int, layer: int) -> Any:
        if layer == LAYERS[1] and context == 1 and failing:
            failing.pop()
            raise torch.OutOfMemoryError("no room")
        return look(self, chunk, context, layer)

    monkeypatch.setattr(editing.memit.keys.Collector, "_look", once_out_of_memory)
    halved, _ = collected(model, "byte-bpe", float("inf"))
    assert not failing
    for ours, reference in zip(halved[::2], whole[::2], strict=True):  # the columns' order differs
        assert torch.allclose(ours.T @ ours, reference.T @ reference, rtol=1e-9, atol=1e-9)
