"""On a CUDA device the engine does what it does on a CPU, in every precision, within the memory it announced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from editing.editors.contract import BuildInputs
from editing.memit.build import MemitResult, build
from editing.model.loading import load_model
from editing.preflight import Preflight
from editing.storage.base_import import import_base
from editing.storage.checkpoints import write_checkpoint
from tests.support.builds import REQUESTS, SETTINGS
from tests.support.tiny_models import llama, save
from tests.support.zoo import TEXT, tiny, tokenizer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(),
        reason="needs a CUDA device; on a machine with one: python -m pytest -m gpu tests/editing/memit/test_gpu.py",
    ),
]


def built(model: Any, scratch: Path, **more: Any) -> MemitResult:
    scratch.mkdir(parents=True, exist_ok=True)
    (scratch / "corpus.txt").write_text("\n".join(TEXT * 8), encoding="utf-8")
    settings = more.pop("settings", SETTINGS)
    corpus = [scratch / "corpus.txt"]
    given = BuildInputs(REQUESTS, settings, cache=scratch, base_digest="base", corpus=corpus)
    return build(model, tokenizer("byte-bpe"), given, **more)


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    """‖found − expected‖ / ‖expected‖."""
    return float((found.cpu() - expected).norm() / expected.norm())


# Rotary angles are computed in fp32 whatever the model's precision, and sines of devices differ in their last bits.
@pytest.mark.parametrize(("kind", "tolerance"), [("gpt2", 1e-7), ("llama", 1e-4), ("gemma2", 1e-4)])
def test_fp64_on_the_device_agrees_with_the_cpu(kind: str, tolerance: float, tmp_path: Path) -> None:
    on_cpu = built(tiny(kind), tmp_path / "cpu")
    on_gpu = built(tiny(kind).to("cuda"), tmp_path / "gpu")
    assert on_gpu.prefixes == on_cpu.prefixes, "a seed means the same everywhere"
    for key, delta in on_cpu.deltas.items():
        assert distance(on_gpu.deltas[key].value, delta.value) < tolerance
    for name, tensor in on_cpu.tensors.items():
        assert distance(on_gpu.tensors[name], tensor) < tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_precision_is_edited_and_the_same_seed_gives_the_same_tensors(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    first = built(tiny("llama", dtype=dtype).to("cuda"), tmp_path)
    again = built(tiny("llama", dtype=dtype).to("cuda"), tmp_path)
    assert {tensor.dtype for tensor in first.tensors.values()} == {dtype}
    assert all(torch.equal(tensor, again.tensors[name]) for name, tensor in first.tensors.items())
    assert all(bool(torch.isfinite(tensor).all()) for tensor in first.tensors.values())


def test_the_memory_that_was_said_is_about_what_it_took(tmp_path: Path) -> None:
    model = tiny("gpt2", dtype=torch.float32, n_embd=64, n_inner=4096).to("cuda")
    told: list[Preflight] = []
    torch.cuda.reset_peak_memory_stats()
    built(model, tmp_path, planned=told.append, settings=replace(SETTINGS, steps=3))
    took = torch.cuda.max_memory_allocated()
    assert 0.4 <= told[0].bytes / took <= 2.5, (told[0], took)


def test_a_written_checkpoint_is_spread_over_what_there_is(tmp_path: Path) -> None:
    _, base = import_base(save(llama().to(torch.bfloat16), tmp_path / "source"), tmp_path / "base")
    write_checkpoint(base, tmp_path / "out", {})
    assert load_model(tmp_path / "out", device="auto").device.type == "cuda"
    spread = AutoModelForCausalLM.from_pretrained(tmp_path / "out", device_map="auto")
    assert spread.dtype == torch.bfloat16
