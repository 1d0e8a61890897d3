"""One-gradient editing against a plain reading of its paper, and its cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from editing.baselines import features
from editing.baselines.one_gradient import Running, edit, estimate
from editing.editors.contract import BuildInputs
from editing.editors.registry import editor_named
from editing.errors import NumericalError, RequestError
from editing.model.architectures import locate_parts
from editing.requests import EditRequest
from editing.settings import EditSettings
from tests.support.builds import REQUESTS
from tests.support.serial import Fact
from tests.support.serial_one_gradient import one_gradient
from tests.support.zoo import Fp64Throughout, tiny, tokenizer

WORDS = tokenizer("byte-bpe")


def inputs(cache: Path, requests: Any = REQUESTS, *, partial: bool = False, **options: float) -> BuildInputs:
    settings = EditSettings(layers=(1, 2), editor="one_gradient", options={"lr": 0.01, "l2": 0.5, **options})
    return BuildInputs(requests, settings, cache=cache, base_digest="base", corpus=[], partial=partial)


def fact_of(request: EditRequest) -> Fact:
    before, _, after = request.prompt.partition("{}")
    return Fact(before, request.subject, after, request.target)


def stored(cache: Path) -> set[str]:
    return {path.name for path in (cache / "features").iterdir()}


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma2"])
def test_it_agrees_with_a_plain_reading_of_the_paper_in_fp64(architecture: str, tmp_path: Path) -> None:
    model = tiny(architecture)
    parts = locate_parts(model)
    with Fp64Throughout():
        result = edit(model, WORDS, inputs(tmp_path))
        before = {name: model.get_parameter(name).detach().clone() for name in result.tensors}
        one_gradient(
            model,
            WORDS,
            [parts.writer(1), parts.writer(2)],
            [[fact_of(r) for r in REQUESTS]],
            lr=0.01,
            l2=0.5,
        )
    assert len(before) == 2
    for name, ours in result.tensors.items():
        reference = model.get_parameter(name).detach() - before[name]
        assert float(reference.norm()) > 1e-3
        assert float((ours - before[name] - reference).norm() / reference.norm()) < 1e-8


def test_one_more_fact_costs_one_more_gradient(tmp_path: Path) -> None:
    model = tiny("gpt2", dtype=torch.float32)
    first = edit(model, WORDS, inputs(tmp_path, REQUESTS[:3]))
    assert first.cost.groups_optimised == 3
    assert estimate(model, WORDS, inputs(tmp_path)).optimised == 1
    again = edit(model, WORDS, inputs(tmp_path))
    assert (again.cost.groups_optimised, again.cost.groups_cached) == (1, 3)
    fresh = edit(model, WORDS, inputs(tmp_path / "other"))
    for name, tensor in fresh.tensors.items():
        assert torch.allclose(again.tensors[name], tensor, atol=1e-5)
    assert editor_named("one_gradient").reuse == "fact"


def test_features_belong_to_the_weights_that_they_were_read_from(tmp_path: Path) -> None:
    model = tiny("gpt2", dtype=torch.float32)
    edit(model, WORDS, inputs(tmp_path))
    before = stored(tmp_path)
    edit(model, WORDS, replace(inputs(tmp_path), base_digest="another"))
    edit(model, WORDS, replace(inputs(tmp_path), edited="some edits"))
    edit(model, WORDS, inputs(tmp_path, first_layer=0, last_layer=1))
    assert len(stored(tmp_path)) == 4 * len(before)


def test_the_order_of_facts_plays_no_part_and_the_model_stays_as_it_was(tmp_path: Path) -> None:
    model = tiny("llama")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    one = edit(model, WORDS, inputs(tmp_path))
    other = edit(model, WORDS, inputs(tmp_path, REQUESTS[::-1]))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    for name, tensor in one.tensors.items():
        assert torch.allclose(other.tensors[name], tensor, rtol=1e-9)
        assert not torch.equal(tensor, before[name])


def test_a_damaged_feature_is_computed_again(tmp_path: Path) -> None:
    model = tiny("gpt2", dtype=torch.float32)
    first = edit(model, WORDS, inputs(tmp_path))
    victim = sorted((tmp_path / "features").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:-40])
    again = edit(model, WORDS, inputs(tmp_path))
    for name, tensor in first.tensors.items():
        assert torch.allclose(again.tensors[name], tensor, atol=1e-6)


def test_a_fact_whose_gradient_is_not_finite_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny("gpt2", dtype=torch.float32)
    compute = features.FeatureStore.compute

    def spoiled(self: Any, texts: Any) -> Any:
        found = compute(self, texts)
        for text, feature in zip(texts, found, strict=True):
            if "b" in text.requests:
                feature[1][1].fill_(torch.inf)
        return found

    monkeypatch.setattr(features.FeatureStore, "compute", spoiled)
    with pytest.raises(NumericalError, match=r"the gradients of \['b'\] are not finite"):
        edit(model, WORDS, inputs(tmp_path))
    result = edit(model, WORDS, inputs(tmp_path, partial=True))
    alone = edit(model, WORDS, inputs(tmp_path, [r for r in REQUESTS if r.id != "b"]))
    assert set(result.failed) == {"b"}
    for name, tensor in alone.tensors.items():
        assert torch.allclose(result.tensors[name], tensor, atol=1e-6)


def test_layers_in_the_wrong_order_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="the first layer, 2, is above the last one, 1"):
        edit(tiny("gpt2"), WORDS, inputs(tmp_path, first_layer=2, last_layer=1))


def test_running_statistics_are_those_of_all_rows() -> None:
    rows = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    running = Running()
    for start in (0, 1, 20, 21):
        running.add(rows[start : {0: 1, 1: 20, 20: 21, 21: 50}[start]])
    whole = (rows - rows.mean(0)) / (rows.std(0, correction=0) + 1e-8)
    assert torch.allclose(running.normalised(rows), whole, rtol=1e-12)
