"""The null-space solve against a plain reading of AlphaEdit, and what it promises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from editing.baselines.null_space import edit
from editing.editors.registry import editor_named
from editing.errors import NumericalError, SpecError
from editing.memit.statistics import Moments, Statistics
from editing.model.architectures import locate_parts
from editing.model.hooks import frozen
from editing.requests import EditRequest
from tests.support.builds import REQUESTS, SETTINGS, built, inputs
from tests.support.serial import Fact, Hyper
from tests.support.serial_null_space import SerialNullSpace
from tests.support.zoo import TEXT, Fp64Throughout, tiny, tokenizer

OPTIONS = {"threshold": 0.3, "l2": 0.05}
CHOSEN = replace(SETTINGS, editor="memit_null_space", options=OPTIONS)
WORDS = tokenizer("byte-bpe")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("\n".join(TEXT * 4), encoding="utf-8")
    return path


def moments_of(model: Any, cache: Path, corpus: Path) -> Moments:
    found = Statistics(model, WORDS, SETTINGS, corpus=[corpus], base_digest="base", cache=cache)
    return found.compute(locate_parts(model), SETTINGS.layers)


def fact_of(request: EditRequest) -> Fact:
    before, _, after = request.prompt.partition("{}")
    return Fact(before, request.subject, after, request.target)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("every_context", [True, False])
def test_it_agrees_with_a_plain_reading_of_the_paper_in_fp64(
    architecture: str, every_context: bool, tmp_path: Path, corpus: Path
) -> None:
    model = tiny(architecture)
    parts = locate_parts(model)
    chosen = replace(CHOSEN, keys="all" if every_context else "average")
    with Fp64Throughout():
        result: Any = edit(model, WORDS, inputs(tmp_path, corpus, settings=chosen))
        moments = moments_of(model, tmp_path, corpus)
        facts = {result.groups[request.id]: fact_of(request) for request in REQUESTS}
        keys = sorted(facts)
        names = [parts.weight_name(layer) for layer in SETTINGS.layers]
        before = {name: model.get_parameter(name).detach().clone() for name in names}
        every = range(len(parts.blocks))
        writers, norms = [parts.writer(i) for i in every], [parts.norm(i) for i in every]
        with frozen(model):
            serial = SerialNullSpace(model, WORDS, parts.blocks, writers, norms)
            serial.threshold, serial.l2 = OPTIONS["threshold"], OPTIONS["l2"]
            serial.spread(
                [facts[key] for key in keys],
                [result.deltas[key].value for key in keys],
                result.prefixes,
                Hyper(0, 0.0, 0.0, 0.0, 0.0, 0.0),
                SETTINGS.layers,
                [moments.load(layer) for layer in SETTINGS.layers],
                [0.0] * len(SETTINGS.layers),
                every_context=every_context,
            )
    for name in names:
        reference = model.get_parameter(name).detach() - before[name]
        ours = result.tensors[name] - before[name]
        assert float(reference.norm()) > 0
        assert float((ours - reference).norm() / reference.norm()) < 1e-8


def test_deltas_of_memit_are_reused(tmp_path: Path, corpus: Path) -> None:
    built(tmp_path, corpus)
    deltas = {path.name for path in (tmp_path / "deltas").iterdir()}
    result = edit(tiny("llama", dtype=torch.float32), WORDS, inputs(tmp_path, corpus, settings=CHOSEN))
    assert result.cost.groups_cached == len(REQUESTS)
    assert result.cost.groups_optimised == 0
    assert {path.name for path in (tmp_path / "deltas").iterdir()} == deltas
    assert editor_named("memit_null_space").reuse == "fact"


def test_what_ordinary_text_reads_hardly_changes_while_the_edits_take(tmp_path: Path, corpus: Path) -> None:
    model = tiny("gpt2")
    parts = locate_parts(model)
    layer = SETTINGS.layers[0]
    projected = edit(model, WORDS, inputs(tmp_path, corpus, settings=CHOSEN))
    moment = moments_of(model, tmp_path, corpus).load(layer)
    values, vectors = torch.linalg.eigh(moment)
    used = vectors[:, values >= OPTIONS["threshold"] * values.mean()]
    name = parts.weight_name(layer)
    change = (projected.tensors[name] - model.get_parameter(name).detach()).T  # Conv1D keeps Wᵀ
    assert used.shape[1] > 0
    assert float((change @ used).norm() / change.norm()) < 1e-10


def test_the_model_stays_as_it_was_and_equal_builds_are_equal(tmp_path: Path, corpus: Path) -> None:
    model = tiny("llama", dtype=torch.float32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = edit(model, WORDS, inputs(tmp_path, corpus, settings=CHOSEN))
    again = edit(model, WORDS, inputs(tmp_path, corpus, settings=CHOSEN))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(torch.equal(first.tensors[name], again.tensors[name]) for name in first.tensors)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"treshold": 0.1}, r"unknown option 'treshold'; did you mean 'threshold'\?"),
        ({"threshold": 0.0}, r"threshold = 0 has to be a number, above 0"),
        ({"l2": float("nan")}, r"l2 = nan has to be a number"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_any_work(
    options: dict[str, float], said: str, tmp_path: Path, corpus: Path
) -> None:
    chosen = replace(CHOSEN, options=options)
    with pytest.raises(SpecError, match=said):
        edit(None, None, inputs(tmp_path, corpus, settings=chosen))


def test_a_threshold_below_every_eigenvalue_says_what_to_do(tmp_path: Path, corpus: Path) -> None:
    chosen = replace(CHOSEN, ridge=1.0, options={"threshold": 1e-9})
    with pytest.raises(NumericalError, match="raise threshold"):
        edit(tiny("llama", dtype=torch.float32), WORDS, inputs(tmp_path, corpus, settings=chosen))
