"""What a device setting means, and where a model's parts are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from editing.errors import ModelError
from editing.model import devices
from editing.model.devices import device_of, distinct, kind_of, spreading
from editing.model.loading import load_model
from tests.support.tiny_models import llama, save


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
def test_one_device_spreads_nothing(device: str) -> None:
    assert spreading(device) == {}


def test_several_gpus_are_filled_evenly_and_others_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {0: (100, 200), 2: (50, 200)}
    monkeypatch.setattr(torch.cuda, "mem_get_info", free.__getitem__)
    assert spreading("cuda:0,cuda:2") == {"device_map": "balanced", "max_memory": {0: 100, 2: 50}}
    assert spreading("sequential") == {"device_map": "sequential"}


def test_a_balanced_model_is_loaded_where_there_is_only_a_cpu(tmp_path: Path) -> None:
    model = llama()
    path = save(model, tmp_path / "model")
    loaded = load_model(path, device="balanced", dtype=torch.float32)
    if not torch.cuda.is_available():
        assert distinct(loaded.modules()) == [torch.device("cpu")]
    ids = torch.tensor([[5, 6, 7]])
    logits = loaded(ids.to(device_of(loaded.get_input_embeddings()))).logits
    assert torch.allclose(logits.cpu(), model(ids).logits, atol=1e-5)


def test_without_accelerate_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(llama(), tmp_path / "model")
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"kbsync\[devices\]"):
        load_model(path, device="balanced")


def test_only_cuda_counts_as_a_gpu() -> None:
    kinds: list[Any] = [kind_of(torch.device(name)) for name in ("cpu", "cuda:1", "mps")]
    assert kinds == ["cpu", "cuda", "cpu"]
    assert device_of(nn.Identity()) == torch.device("cpu")
