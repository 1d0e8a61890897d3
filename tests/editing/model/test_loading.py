"""Loading a model: what cannot be loaded says why, in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from editing.errors import ModelError
from editing.model.loading import context_length, load_model, load_tokenizer, stored_dtype
from tests.support.tiny_models import gpt2, llama, save


def test_on_a_cpu_a_16_bit_model_is_computed_in_fp32(tmp_path: Path) -> None:
    directory = save(llama().to(torch.bfloat16), tmp_path / "model")
    model = load_model(directory, device="cpu")
    assert model.dtype == torch.float32
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert load_model(directory, device="cpu", dtype=torch.bfloat16).dtype == torch.bfloat16
    assert stored_dtype(json.loads((directory / "config.json").read_text())) == torch.bfloat16
    assert context_length(model) == 128


def test_a_directory_that_is_no_model_is_named(tmp_path: Path) -> None:
    for load in (load_model, load_tokenizer):
        with pytest.raises(ModelError, match=r"no model directory at .*nowhere"):
            load(tmp_path / "nowhere")
        with pytest.raises(ModelError, match=r"no readable config\.json"):
            load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="not JSON"):
        load_model(tmp_path)


def test_damaged_weights_missing_tokenizers_and_unknown_dtypes_are_named(tmp_path: Path) -> None:
    directory = save(gpt2(), tmp_path / "model")
    (directory / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        load_tokenizer(directory)
    os.truncate(directory / "model.safetensors", 10_000)
    with pytest.raises(ModelError, match="cannot load the model"):
        load_model(directory, device="cpu")
    with pytest.raises(ModelError, match="'float7'"):
        stored_dtype({"dtype": "float7"})


def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="on abacus"):
        load_model(save(gpt2(), tmp_path / "model"), device="abacus")
