"""The self-test passes on what is as it was taken for, and fails on what is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from editing.errors import ArchitectureError
from editing.model.architectures import Architecture, locate_parts
from editing.model.inference import Continuation
from editing.model.prefix_cache import prefix_cache
from editing.model.self_test import check, self_test
from editing.storage import self_tests
from tests.support.families import tiny_family
from tests.support.zoo import tiny


@pytest.mark.parametrize("kind", ["gpt2", "gemma2", "opt", "llama"])
def test_a_model_of_the_table_passes_and_is_left_as_it_was(kind: str) -> None:
    model = tiny(kind, dtype=torch.float32)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    test = self_test(model, locate_parts(model))
    check(test, test.layers)
    assert test.layers == (0, 1, 2, 3)
    assert not test.whole
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (
            Architecture("model.norm", "mlp.down_proj"),
            r"'model\.norm' of 'llama' is a LlamaRMSNorm, not a list",
        ),
        (
            Architecture("", "mlp.down_proj"),
            r"not a list of blocks: .* this model has blocks 'model\.layers'",
        ),
        (Architecture("model.layers.0", "mlp"), "is a LlamaDecoderLayer, not a list of blocks"),
        (Architecture("model.blocks", "mlp.down_proj"), r"'llama' has no blocks at 'model\.blocks'"),
        (Architecture("model.layers", "mlp.out"), r"block 0 of 'llama' has no 'mlp\.out'"),
        (Architecture("model.layers", "mlp.down_proj", "post_norm"), "block 0 of 'llama' has no 'post_norm'"),
    ],
    ids=lambda value: None if isinstance(value, str) else f"{value.blocks}-{value.writer}-{value.norm}",
)
def test_a_description_that_does_not_fit_the_model_says_what_differs(named: Architecture, said: str) -> None:
    with pytest.raises(ArchitectureError, match=said):
        locate_parts(tiny("llama", dtype=torch.float32), named)


def test_a_forgotten_norm_is_found_out() -> None:
    model = tiny("gemma2", dtype=torch.float32)
    parts = locate_parts(model, Architecture("model.layers", "mlp.down_proj"))
    with pytest.raises(ArchitectureError, match="writer"):
        check(self_test(model, parts))


def test_a_matrix_that_is_not_w_out_is_found_out() -> None:
    model = tiny("llama", dtype=torch.float32)
    parts = locate_parts(model, Architecture("model.layers", "self_attn.q_proj"))
    assert not self_test(model, parts).passed


def test_one_block_used_twice_is_found_out() -> None:
    model = tiny("llama", dtype=torch.float32)
    model.model.layers[2].mlp.down_proj.weight = model.model.layers[1].mlp.down_proj.weight
    test = self_test(model, locate_parts(model))
    with pytest.raises(ArchitectureError, match="one tensor"):
        check(test)


def test_a_model_that_looks_ahead_is_found_out() -> None:
    model = tiny_family("bert", dtype=torch.float32)
    model.config.is_decoder = False
    for module in model.modules():
        for name in ("is_decoder", "is_causal"):
            if hasattr(module, name):
                setattr(module, name, False)
    test = self_test(model, locate_parts(model))
    assert not next(verdict for verdict in test.verdicts if verdict.name == "causal").passed


def test_a_layer_that_writes_otherwise_is_refused_and_the_others_are_not() -> None:
    model = tiny("llama", dtype=torch.float32)
    block = model.model.layers[2].mlp
    whole = type(block).forward

    def half(states: torch.Tensor) -> torch.Tensor:
        return 0.5 * whole(block, states)

    block.forward = half
    test = self_test(model, locate_parts(model))
    assert test.layers == (0, 1, 3)
    with pytest.raises(ArchitectureError, match="layer 2 cannot be edited"):
        check(test, (1, 2))


def test_a_hybrid_model_is_run_whole_and_continued_exactly() -> None:
    model = tiny_family("qwen3_5_text")
    assert not prefix_cache(model).exact
    prompts: list[tuple[int, ...]] = [(7, 9, 11), (7, 9, 11, 20, 31)]
    batch = Continuation(model, prompts)
    batch.append(torch.tensor([40, 50]))
    for row, prompt in enumerate(prompts):
        with torch.no_grad():
            alone = model(torch.tensor([[*prompt, (40, 50)[row]]]), use_cache=False).logits[0, -1]
        torch.testing.assert_close(batch.logits[row], alone)


def test_a_base_is_tested_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("llama", dtype=torch.float32)
    parts = locate_parts(model)
    first = self_tests.tested(model, parts, "base", tmp_path)

    def never(*_: Any) -> Any:
        raise AssertionError("tested again")

    monkeypatch.setattr(self_tests, "self_test", never)
    assert self_tests.tested(model, parts, "base", tmp_path) == first
    with pytest.raises(AssertionError, match="again"):
        self_tests.tested(model, parts, "another base", tmp_path)
    other = replace(parts, inside=(replace(parts.inside[0], writer="self_attn.o_proj"), *parts.inside[1:]))
    with pytest.raises(AssertionError, match="again"):
        self_tests.tested(model, other, "base", tmp_path)


@pytest.mark.parametrize("kind", ["bloom", "deepseek_v3", "qwen3_5_text"])
def test_a_saved_model_is_loaded_with_the_same_bits(kind: str, tmp_path: Path) -> None:
    model = tiny_family(kind, dtype=torch.float32)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert self_tests.as_stored(tmp_path, loaded, locate_parts(loaded)).passed
    for layer in locate_parts(model).editable:
        assert torch.equal(
            locate_parts(model).writer(layer).weight, locate_parts(loaded).writer(layer).weight
        )
    with torch.no_grad():
        locate_parts(loaded).writer(0).weight.add_(1.0)  # type: ignore[operator]
    assert not self_tests.as_stored(tmp_path, loaded, locate_parts(loaded)).passed
