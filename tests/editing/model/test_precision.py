"""A model computed in another dtype, without being converted."""

from __future__ import annotations

import copy

import pytest
import torch

from editing.model.precision import ComputedIn
from tests.support import zoo


@pytest.mark.parametrize("kind", ["gpt2", "opt", "stablelm"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_every_operation_rounds_as_in_a_converted_model(kind: str, dtype: torch.dtype) -> None:
    model = zoo.tiny(kind, dtype=torch.float32).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ids = torch.arange(3, 27).reshape(2, 12)
    with torch.inference_mode():
        with ComputedIn(dtype):
            emulated = model(ids, use_cache=False).logits
        exact = model(ids, use_cache=False).logits
        converted = copy.deepcopy(model).to(dtype)(ids, use_cache=False).logits
    assert emulated.dtype == dtype
    assert torch.equal(emulated, converted)
    assert not torch.equal(emulated.float(), exact)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma2", "phi"])
def test_a_model_stored_in_16_bits_can_be_computed_in_32(kind: str) -> None:
    model = zoo.tiny(kind, dtype=torch.bfloat16).eval()
    ids = torch.arange(3, 27).reshape(2, 12)
    with torch.inference_mode(), ComputedIn(torch.float32):
        exact = model(ids, use_cache=False).logits
    with torch.inference_mode():
        converted = copy.deepcopy(model).to(torch.float32)(ids, use_cache=False).logits
        rounded = model(ids, use_cache=False).logits
    assert exact.dtype == torch.float32
    # Buffers, such as the rotary frequencies, are not parameters: they stay as they are.
    near, far = (exact - converted).norm(), (rounded.float() - converted).norm()
    assert near < far
