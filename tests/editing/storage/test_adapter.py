"""The adapter of a candidate, loaded by plain peft over the base, answers as the checkpoint does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftConfig, PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from editing.errors import CheckpointError
from editing.storage.adapter import FILE, SERVED_RANKS, factorised, fit_adapter, read_adapter, served_rank
from editing.storage.checkpoints import import_base, read_changed, read_editable, verify, write_checkpoint
from editing.storage.manifest import read_manifest
from editing.worker.candidates import compared
from tests.support.tiny_models import editable, gpt2, llama, save

pytestmark = pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"  # peft asks for it
)
NEEDED = 3
TEXT = "The Blue House is led by"


@pytest.fixture(scope="module", params=[gpt2, llama], ids=["Conv1D", "Linear"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    make: Callable[[], torch.nn.Module] = request.param
    root = tmp_path_factory.mktemp("bases")
    model = make()
    return import_base(save(model, root / "source"), root / "base", editable(model))[1]


def edited(base: Path, rank: int = NEEDED, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Every W_out with a change of that rank, as a solve makes it; the last one with one rank less."""
    torch.manual_seed(1)
    names = sorted(read_manifest(base).editable)
    made = {}
    for name, tensor in read_editable(base, names).items():
        count = rank - (name == names[-1])
        change = torch.randn(tensor.shape[0], count) @ torch.randn(count, tensor.shape[1]) * 0.02
        made[name] = (tensor.double() + change.double()).to(dtype)
    return made


def logits(model: Any, base: Path) -> torch.Tensor:
    ids = AutoTokenizer.from_pretrained(base)(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return model(ids).logits


def test_plain_peft_answers_as_the_checkpoint_does_and_merged_it_is_the_checkpoint(
    base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "1"
    digest = write_checkpoint(base, out, edited(base), ["adapter"])
    assert verify(out) == digest
    assert sorted(path.name for path in (out / "adapter").iterdir()) == ["adapter_config.json", FILE]
    figures = read_manifest(out).forms["adapter"]
    assert (figures["rank"], figures["needed_rank"]) == (8, NEEDED), "rounded up to one that vLLM serves"
    assert figures["relative_error"] < 1e-5
    checkpoint = AutoModelForCausalLM.from_pretrained(out).eval()
    plain = AutoModelForCausalLM.from_pretrained(base).eval()
    before = logits(plain, base)
    adapted = PeftModel.from_pretrained(plain, out / "adapter").eval()
    expected = logits(checkpoint, base)
    assert (expected - before).abs().max() > 0.01, "the edit changes something"
    assert torch.allclose(logits(adapted, base), expected, atol=1e-4)
    merged = adapted.merge_and_unload()
    for name, tensor in read_changed(base, out).items():
        assert torch.allclose(merged.get_parameter(name), tensor, atol=1e-6, rtol=1e-5), name
    config = PeftConfig.from_pretrained(out / "adapter")
    assert config.base_model_name_or_path == read_manifest(base).digest
    assert config.lora_alpha == config.r == 8


@pytest.mark.parametrize("rank", [2, 8])
def test_the_checkpoint_is_the_base_with_the_adapter_as_it_is_served(
    base: Path, tmp_path: Path, rank: int
) -> None:
    """Below the rank that is needed, too: what is judged has the adapter's rank, and its rounded factors."""
    adapter = fit_adapter(base, edited(base), rank)
    write_checkpoint(base, tmp_path / "1", adapter.merged(), {"adapter": adapter})
    updates = read_adapter(tmp_path / "1" / "adapter")
    changed = read_editable(tmp_path / "1", updates.keys())
    for name, before in read_editable(base, updates.keys()).items():
        assert torch.allclose(changed[name], before + updates[name], atol=1e-7, rtol=1e-6), name
    plain = AutoModelForCausalLM.from_pretrained(base).eval()
    adapted = PeftModel.from_pretrained(plain, tmp_path / "1" / "adapter").eval()
    expected = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "1").eval(), base)
    assert torch.allclose(logits(adapted, base), expected, atol=1e-5)
    merged = adapted.merge_and_unload()
    for name, tensor in changed.items():
        assert torch.allclose(merged.get_parameter(name), tensor, atol=1e-7, rtol=1e-6), name


def test_factors_have_the_dtype_in_which_the_base_is_served(tmp_path: Path) -> None:
    model = llama().to(torch.bfloat16)
    base = import_base(save(model, tmp_path / "source"), tmp_path / "base", editable(model))[1]
    adapter = fit_adapter(base, edited(base, dtype=torch.float32))
    write_checkpoint(base, tmp_path / "1", adapter.merged(), {"adapter": adapter})
    stored = load_file(tmp_path / "1" / "adapter" / FILE)
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    updates = read_adapter(tmp_path / "1" / "adapter")
    for name, before in read_editable(base, updates.keys()).items():
        judged = read_editable(tmp_path / "1", [name])[name]
        assert torch.equal(judged, (before.double() + updates[name].double()).bfloat16()), name


def test_the_adapter_is_the_same_again(base: Path, tmp_path: Path) -> None:
    one, other = (write_checkpoint(base, tmp_path / name, edited(base), ["adapter"]) for name in "12")
    assert one == other


def test_above_max_rank_it_is_the_best_fit_and_the_manifest_gives_its_error(
    base: Path, tmp_path: Path
) -> None:
    tensors = edited(base)
    write_checkpoint(base, tmp_path / "1", tensors, ["adapter"], options={"adapter": {"max_rank": 2}})
    figures = read_manifest(tmp_path / "1").forms["adapter"]
    assert (figures["rank"], figures["needed_rank"]) == (2, NEEDED)
    worst = 0.0
    fitted = read_adapter(tmp_path / "1" / "adapter")
    for name, tensor in read_editable(base, tensors.keys()).items():
        change = tensors[name].double() - tensor.double()
        left = torch.linalg.svdvals(change)[2:].norm()
        error = (change - fitted[name].double()).norm()
        assert error == pytest.approx(float(left), rel=1e-3, abs=1e-6), "no other rank-2 matrix is closer"
        worst = max(worst, float(error / change.norm()))
    assert figures["relative_error"] == pytest.approx(worst, rel=1e-3)
    assert 0.01 < worst < 1


def test_the_rounding_of_sixteen_bit_weights_needs_no_rank(base: Path, tmp_path: Path) -> None:
    """ΔW of rounded weights has full rank; what rounding alone makes of it is not in the adapter."""
    write_checkpoint(base, tmp_path / "1", edited(base, dtype=torch.bfloat16), ["adapter"])
    assert read_manifest(tmp_path / "1").forms["adapter"]["needed_rank"] <= NEEDED


def test_a_candidate_that_changes_nothing_has_an_adapter_that_changes_nothing(
    base: Path, tmp_path: Path
) -> None:
    write_checkpoint(base, tmp_path / "1", {}, ["adapter"])
    assert all(not update.any() for update in read_adapter(tmp_path / "1" / "adapter").values())
    plain = AutoModelForCausalLM.from_pretrained(base).eval()
    before = logits(plain, base)
    adapted = PeftModel.from_pretrained(plain, tmp_path / "1" / "adapter").eval()
    assert torch.equal(logits(adapted, base), before)


def test_without_peft_there_is_no_checkpoint_and_the_error_names_the_extra(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("editing.storage.adapter.find_spec", lambda _: None)
    with pytest.raises(CheckpointError, match=r"kbsync\[adapter\]"):
        write_checkpoint(base, tmp_path / "out" / "1", edited(base), ["adapter"])
    assert list((tmp_path / "out").iterdir()) == []


def test_ranks_are_those_that_vllm_serves() -> None:
    assert [served_rank(rank) for rank in (0, 1, 2, 8, 9, 300, 512)] == [1, 1, 8, 8, 16, 320, 512]
    assert served_rank(40, max_rank=40) == 40, "never above the setting"
    assert max(SERVED_RANKS) == 512
    assert factorised(torch.zeros(4, 5, dtype=torch.float64), 0.0, 8).a.shape == (0, 5)


def test_the_measured_difference_is_that_of_the_logits(base: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    words = AutoTokenizer.from_pretrained(base)
    prompts = [words(text)["input_ids"] for text in (TEXT, "The Red Boat", "Blue")]
    same = edited(base)
    assert compared(model, prompts, same, same) == {
        "prompts": 3.0,
        "max_logit_difference": 0.0,
        "same_next_token": 1.0,
    }
    found = compared(model, prompts, same, edited(base, rank=2))
    with torch.no_grad():
        expected = 0.0
        for ids in prompts:
            answers = []
            for tensors in (same, edited(base, rank=2)):
                model.load_state_dict(tensors, strict=False)
                answers.append(model(torch.tensor([ids])).logits[0, -1])
            expected = max(expected, float((answers[0] - answers[1]).abs().max()))
    assert found["max_logit_difference"] == pytest.approx(expected, rel=1e-3)
    assert found["max_logit_difference"] > 1e-4
