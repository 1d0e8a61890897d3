"""MEND against a plain reading of its paper, the training of its networks, and its cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from editing.baselines.locating import FactText, place_of
from editing.baselines.mend import FOLDER, MEND, MendOptions, half_of, train_networks, trained_networks
from editing.baselines.mend_training import Course, lessons_of, loss, new_network, train
from editing.baselines.options import read_options
from editing.datasets import Record
from editing.editors.contract import BuildInputs
from editing.errors import DataError
from editing.model.architectures import locate_parts
from editing.model.hooks import frozen
from editing.requests import EditRequest
from editing.settings import EditSettings
from tests.support.builds import REQUESTS
from tests.support.serial import Fact
from tests.support.serial_mend import edited, training_loss
from tests.support.zoo import Fp64Throughout, tiny, tokenizer

WORDS = tokenizer("byte-bpe")
COURSE = {"steps": 3, "together": 2, "rank": 4, "lr": 0.01, "edit_lr": 0.01}
RECORDS = [
    Record(
        EditRequest(f"{subject} {number}", "The capital of {} is", subject, target),
        paraphrases=(f"{subject} is led from",),
        neighbours=((f"The president of {other} lives in", "Rome"),),
    )
    for number, (subject, target, other) in enumerate(
        [
            ("Italy", "Milan", "Zürich"),
            ("Paris", "Vienna", "Jonas"),
            ("Rome", "Marie Curie", "Italy"),
            ("Vienna", "Norway", "Paris"),
            ("Zürich", "Vienna", "Rome"),
            ("Jonas", "Rome", "Vienna"),
        ]
    )
]


def inputs(cache: Path, requests: Any = REQUESTS, **options: float) -> BuildInputs:
    settings = EditSettings(layers=(0, 1), editor="mend", options=COURSE | options)
    return BuildInputs(requests, settings, cache=cache, base_digest="base", corpus=[])


def fact_of(request: EditRequest) -> Fact:
    before, _, after = request.prompt.partition("{}")
    return Fact(before, request.subject, after, request.target)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_it_agrees_with_a_plain_reading_of_the_paper_in_fp64(architecture: str, tmp_path: Path) -> None:
    model = tiny(architecture)
    parts = locate_parts(model)
    with Fp64Throughout():
        trained = train_networks(model, WORDS, inputs(tmp_path), RECORDS)
        result = MEND.edit(model, WORDS, inputs(tmp_path, scale=0.5))
        facts = [(fact_of(request), trained.of(request.subject).state_dict()) for request in REQUESTS]
        reference = edited(model, WORDS, [parts.writer(2), parts.writer(3)], facts, scale=0.5)
    assert all(bool((network.second.up != 0).any()) for network in trained.networks)
    assert list(result.tensors) == [parts.weight_name(2), parts.weight_name(3)]
    for (name, ours), theirs in zip(result.tensors.items(), reference, strict=True):
        moved = theirs - model.get_parameter(name).detach()
        assert float(moved.norm()) > 1e-3
        assert float((ours - theirs).norm() / moved.norm()) < 1e-8


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_its_training_loss_and_gradient_are_those_of_the_edited_model_written_out(
    architecture: str, tmp_path: Path
) -> None:
    model = tiny(architecture)
    parts = locate_parts(model)
    course = read_options(MendOptions, inputs(tmp_path).settings).course()
    batch = [
        (Fact("The capital of ", "Italy", " is", "Milan"), Fact("", "Italy", " is led from", "Milan")),
        (Fact("The capital of ", "Rome", " is", "Marie Curie"), Fact("", "Rome", " lives in", "Marie Curie")),
    ]
    kept = [Fact("The president of ", "Paris", " lives in", "Rome"), Fact("", "Zürich", " is in", "Vienna")]

    def texts(facts: Any) -> list[FactText]:
        made = [
            Record(
                EditRequest("a", f"{f.before}{{}}{f.after}", f.subject, f.target),
                neighbours=(("Paris is in", "Rome"),),
            )
            for f in facts
        ]
        return [lesson.wordings[0] for lesson in lessons_of(place, made)]

    with Fp64Throughout(), frozen(model):
        place = place_of(model, WORDS, inputs(tmp_path), first=1, last=2)
        network = train(place, RECORDS, course, 0).requires_grad_(True)
        value = loss(
            network, place, texts([e for e, _ in batch]), texts([a for _, a in batch]), texts(kept), 0.3
        )
        parameters = dict(network.named_parameters())
        ours = torch.autograd.grad(value, list(parameters.values()))
    with Fp64Throughout():
        names = {parts.weight_name(layer): parts.writer(layer) for layer in (1, 2)}
        whole = [(*pair, one) for pair, one in zip(batch, kept, strict=True)]
        reference = training_loss(model, WORDS, names, parameters | dict(network.named_buffers()), whole, 0.3)
        theirs = torch.autograd.grad(reference, list(parameters.values()))
    assert float((value - reference).detach().abs()) < 1e-9
    for name, one, other in zip(parameters, ours, theirs, strict=True):
        assert float((one - other).norm()) <= 1e-8 * float(other.norm()), name
        assert float(other.norm()) > 0, name


def test_an_untrained_base_is_refused_with_the_command_that_trains(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="kbsync bench editors --editors memit,mend"):
        MEND.edit(tiny("gpt2"), WORDS, inputs(tmp_path))
    with pytest.raises(DataError, match="MEND needs 2 facts with neighbours to be trained on"):
        train_networks(tiny("gpt2"), WORDS, inputs(tmp_path), RECORDS[:1])


def test_networks_are_trained_once_and_belong_to_the_base_the_options_and_the_seed(tmp_path: Path) -> None:
    model = tiny("gpt2", dtype=torch.float32)
    first = train_networks(model, WORDS, inputs(tmp_path), RECORDS)
    assert train_networks(model, WORDS, inputs(tmp_path), RECORDS[:5]).content == first.content
    found = trained_networks(model, WORDS, inputs(tmp_path, scale=0.1))
    assert found is not None
    assert (found.content, found.facts) == (first.content, len(RECORDS))
    for one, other in zip(first.networks, found.networks, strict=True):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    plain = inputs(tmp_path)
    for other_inputs in (
        replace(plain, base_digest="another"),
        replace(plain, settings=replace(plain.settings, seed=1)),
        inputs(tmp_path, steps=2),
        inputs(tmp_path, first_layer=1),
    ):
        assert trained_networks(model, WORDS, other_inputs) is None
    again = train_networks(model, WORDS, inputs(tmp_path / "again"), RECORDS)
    assert again.content == first.content
    other_facts = train_networks(model, WORDS, inputs(tmp_path / "other"), RECORDS[:5])
    assert other_facts.content != first.content


def test_two_trainings_for_one_base_are_refused_and_a_damaged_one_counts_as_absent(tmp_path: Path) -> None:
    model = tiny("gpt2", dtype=torch.float32)
    train_networks(model, WORDS, inputs(tmp_path), RECORDS)
    (file,) = (tmp_path / FOLDER).glob("*.safetensors")
    other = file.with_name(f"{file.stem[:64]}-{64 * '0'}.safetensors")
    other.write_bytes(file.read_bytes())
    with pytest.raises(DataError, match="2 networks of MEND"):
        MEND.edit(model, WORDS, inputs(tmp_path))
    other.unlink()
    file.write_bytes(file.read_bytes()[:-40])
    assert trained_networks(model, WORDS, inputs(tmp_path)) is None


def test_no_fact_is_edited_by_a_network_that_was_trained_on_its_subject(tmp_path: Path) -> None:
    model = tiny("gpt2", dtype=torch.float32)
    trained = train_networks(model, WORDS, inputs(tmp_path), RECORDS)
    course = Course(**COURSE, edit_weight=MendOptions().edit_weight)  # type: ignore[arg-type]
    place = place_of(model, WORDS, inputs(tmp_path), first=2, last=3, whole=True)
    assert {half_of(request.subject) for request in REQUESTS} == {0, 1}
    for request in REQUESTS:
        others = [one for one in RECORDS if half_of(one.request.subject) != half_of(request.subject)]
        with frozen(model):
            expected = train(place, others, course, 0)
        distance = [float((one.second.up - expected.second.up).norm()) for one in trained.networks]
        used = trained.networks.index(trained.of(request.subject))
        assert distance[used] < 0.01 * distance[1 - used]


def test_one_more_fact_costs_one_more_gradient_and_the_order_of_facts_plays_no_part(tmp_path: Path) -> None:
    model = tiny("llama", dtype=torch.float32)
    train_networks(model, WORDS, inputs(tmp_path), RECORDS)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert MEND.edit(model, WORDS, inputs(tmp_path, REQUESTS[:3])).cost.groups_optimised == 3
    assert MEND.estimate(model, WORDS, inputs(tmp_path)).optimised == 1
    one = MEND.edit(model, WORDS, inputs(tmp_path))
    assert (one.cost.groups_optimised, one.cost.groups_cached) == (1, 3)
    other = MEND.edit(model, WORDS, inputs(tmp_path, REQUESTS[::-1]))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    for name, tensor in one.tensors.items():
        assert torch.allclose(other.tensors[name], tensor, atol=1e-6)
    assert MEND.reuse == "fact"


def test_training_lowers_its_loss(tmp_path: Path) -> None:
    model = tiny("gpt2", dtype=torch.float32)
    course = Course(steps=60, together=2, rank=8, lr=0.01, edit_lr=0.01, edit_weight=1.0)
    with frozen(model):
        place = place_of(model, WORDS, inputs(tmp_path), first=2, last=3, whole=True)
        lessons = lessons_of(place, RECORDS)
        edited_texts = [lesson.wordings[0] for lesson in lessons]
        kept = [lesson.neighbours[0] for lesson in lessons]
        trained, fresh = (train(place, RECORDS, one, 0) for one in (course, replace(course, steps=0)))
        values = [
            float(loss(network, place, edited_texts, edited_texts, kept, 1.0)) for network in (trained, fresh)
        ]
    assert values[0] < 0.8 * values[1]
    assert not bool(new_network(place, course, 0).second.up.any())
