"""FT-W and LocFT-BF against a plain loop over the facts, and what an editor has to keep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from editing.baselines import fine_tuning
from editing.baselines.ft_w import FACTOR, FT_W, POWER, FtWOptions
from editing.baselines.locft_bf import LOCFT_BF
from editing.editors.contract import BuildInputs, Editor
from editing.editors.registry import editor_named
from editing.errors import NumericalError, OutOfMemory, RequestError, SpecError
from editing.model.architectures import locate_parts
from editing.preflight import Preflight
from editing.requests import EditRequest
from editing.settings import EditSettings
from tests.support.builds import REQUESTS
from tests.support.serial import Fact
from tests.support.serial_fine_tuning import fine_tune
from tests.support.zoo import Fp64Throughout, tiny, tokenizer

WORDS = tokenizer("byte-bpe")
EDITORS = {"ft_w": FT_W, "locft_bf": LOCFT_BF}


def inputs(cache: Path, editor: str, requests: Any = REQUESTS, **options: float) -> BuildInputs:
    settings = EditSettings(layers=(1, 2), editor=editor, options=options)
    return BuildInputs(requests, settings, cache=cache, base_digest="base", corpus=[], partial=False)


def fact_of(request: EditRequest) -> Fact:
    before, _, after = request.prompt.partition("{}")
    return Fact(before, request.subject, after, request.target)


def differ(ours: torch.Tensor, reference: torch.Tensor, before: torch.Tensor) -> float:
    assert float((reference - before).norm()) > 1e-3
    return float((ours - reference).norm() / (reference - before).norm())


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_ft_w_agrees_with_a_plain_loop_in_fp64(architecture: str, tmp_path: Path) -> None:
    model = tiny(architecture)
    with Fp64Throughout():
        result = FT_W.edit(model, WORDS, inputs(tmp_path, "ft_w", batch=3, epochs=4, lr=0.01, decay=0.3))
        weight = model.get_parameter(locate_parts(model).weight_name(2))
        before = weight.detach().clone()
        facts = [fact_of(request) for request in REQUESTS]
        decay = 0.3 * FACTOR * len(facts) ** POWER
        fine_tune(model, WORDS, weight, [facts] * 4, batch=3, lr=0.01, weight_decay=decay, stop_loss=0.01)
    (ours,) = result.tensors.values()
    assert differ(ours, weight.detach(), before) < 1e-8


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("end", [0, 1])
def test_locft_bf_agrees_with_a_plain_loop_in_fp64(architecture: str, end: int, tmp_path: Path) -> None:
    model = tiny(architecture)
    with Fp64Throughout():
        result = LOCFT_BF.edit(
            model, WORDS, inputs(tmp_path, "locft_bf", batch=3, epochs=3, lr=0.01, layer=1, end=end)
        )
        weight = model.get_parameter(locate_parts(model).weight_name(1))
        before = weight.detach().clone()
        facts = [fact_of(request) for request in REQUESTS]
        shuffle = torch.Generator().manual_seed(0)
        epochs = [
            [facts[i] for i in torch.randperm(len(facts), generator=shuffle).tolist()] for _ in range(3)
        ]
        fine_tune(model, WORDS, weight, epochs, batch=3, lr=0.01, end=WORDS.eos_token_id if end else None)
    (ours,) = result.tensors.values()
    assert result.layers == (1,)
    assert differ(ours, weight.detach(), before) < 1e-8


def test_ft_w_stops_early_where_the_plain_loop_does(tmp_path: Path) -> None:
    model = tiny("llama", dtype=torch.float32)
    seen: list[tuple[int, int]] = []
    FT_W.edit(
        model,
        WORDS,
        inputs(tmp_path, "ft_w", epochs=200, lr=0.005, decay=0.0, stop_loss=3.0),
        progress=lambda phase, done, total: seen.append((done, total)),
    )
    weight = model.get_parameter(locate_parts(model).weight_name(2))
    facts = [fact_of(request) for request in REQUESTS]
    run = fine_tune(model, WORDS, weight, [facts] * 200, batch=64, lr=0.005, stop_loss=3.0)
    assert 1 < run < 200
    assert len(seen) == run + 1, "one step an epoch, and the end"
    assert seen[-1] == (200 * len(facts), 200 * len(facts))


@pytest.mark.parametrize("name", EDITORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_targets_become_likelier_and_the_model_stays_as_it_was(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    model, editor = tiny("llama", dtype=dtype), EDITORS[name]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    asked = inputs(tmp_path, name, lr=0.01, epochs=10)
    seen: list[Preflight] = []
    first = editor.edit(model, WORDS, asked, planned=seen.append)
    again = editor.edit(model, WORDS, asked)
    (key,) = first.tensors
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(parameter.grad is not None for parameter in model.parameters())
    assert torch.equal(first.tensors[key], again.tensors[key])
    assert first.tensors[key].dtype == dtype
    assert first.cost.groups_optimised == seen[0].optimised == len(REQUESTS)
    assert editor_named(name) is editor
    assert editor.reuse == "view"
    texts = [WORDS(f"{r.rendered} {r.target}", return_tensors="pt")["input_ids"] for r in REQUESTS]
    loss = [float(model(ids, labels=ids).loss.detach()) for ids in texts]
    model.load_state_dict({**before, key: first.tensors[key]})
    assert sum(float(model(ids, labels=ids).loss.detach()) for ids in texts) < sum(loss)


@pytest.mark.parametrize("editor", EDITORS.values(), ids=EDITORS)
def test_the_estimate_covers_the_work_and_can_cancel_it(editor: Editor, tmp_path: Path) -> None:
    model = tiny("gpt2", dtype=torch.float32)
    name = next(name for name, one in EDITORS.items() if one is editor)
    small = editor.estimate(model, WORDS, inputs(tmp_path, name, epochs=1))
    large = editor.estimate(model, WORDS, inputs(tmp_path, name, epochs=10))
    assert large.floor_flops == pytest.approx(10 * small.floor_flops)
    assert small.bytes_batch > 0
    assert small.bytes_result > 0

    def cancel(_: Preflight) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        editor.edit(model, WORDS, inputs(tmp_path, name), planned=cancel)


def test_a_request_that_cannot_be_tokenised_costs_only_itself(tmp_path: Path) -> None:
    model = tiny("gpt2", dtype=torch.float32)
    broken = EditRequest("broken", "no place for a subject", "x", "y")
    asked = inputs(tmp_path, "locft_bf", [*REQUESTS, broken], epochs=2)
    with pytest.raises(RequestError):
        LOCFT_BF.edit(model, WORDS, asked)
    result = LOCFT_BF.edit(model, WORDS, replace(asked, partial=True))
    alone = LOCFT_BF.edit(model, WORDS, inputs(tmp_path, "locft_bf", epochs=2))
    assert set(result.failed) == {"broken"}
    assert all(torch.equal(result.tensors[name], alone.tensors[name]) for name in alone.tensors)


def test_a_text_that_does_not_fit_in_memory_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny("gpt2", dtype=torch.float32)
    losses = fine_tuning.target_losses

    def crowded(place: Any, texts: Any) -> torch.Tensor:
        if any("c" in text.requests for text in texts):
            raise torch.OutOfMemoryError("out of memory")
        return losses(place, texts)

    alone = LOCFT_BF.edit(
        model, WORDS, inputs(tmp_path, "locft_bf", [r for r in REQUESTS if r.id != "c"], epochs=2)
    )
    monkeypatch.setattr(fine_tuning, "target_losses", crowded)
    asked = inputs(tmp_path, "locft_bf", epochs=2)
    with pytest.raises(OutOfMemory, match="one item alone does not fit"):
        LOCFT_BF.edit(model, WORDS, asked)
    result = LOCFT_BF.edit(model, WORDS, replace(asked, partial=True))
    assert {id: type(error) for id, error in result.failed.items()} == {"c": OutOfMemory}
    for name in alone.tensors:
        assert torch.allclose(result.tensors[name], alone.tensors[name], atol=1e-5)


def test_a_loss_that_is_not_finite_says_what_to_lower(tmp_path: Path) -> None:
    model = tiny("gpt2", dtype=torch.float32)
    with pytest.raises(NumericalError, match=r"lower lr \(1e\+30\)"):
        FT_W.edit(model, WORDS, inputs(tmp_path, "ft_w", lr=1e30))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epoch": 3}, "unknown option 'epoch'; did you mean 'epochs'"),
        ({"epochs": 2.5}, "epochs = 2.5 has to be a whole number, at least 1"),
        ({"lr": 0.0}, "lr = 0 has to be a number, above 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, float], said: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=said):
        FT_W.estimate(tiny("gpt2"), WORDS, inputs(tmp_path, "ft_w", **options))


def test_a_layer_that_the_model_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"layers \(17,\) must be ascending and between 0 and 2"):
        FT_W.edit(tiny("gpt2"), WORDS, inputs(tmp_path, "ft_w", layer=17))


def test_the_weight_decay_of_ft_w_follows_the_paper_s_power_law() -> None:
    ten_thousand = FtWOptions().schedule(10_000).weight_decay
    assert ten_thousand == pytest.approx(10_000**-0.87028798 * 2.718281828**0.15589562)
    assert FtWOptions().schedule(1).weight_decay > ten_thousand
