"""Editing in sequence against plain loops: ROME, MEMIT and AlphaEdit with preserved keys, one-gradient editing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from editing.baselines.one_gradient import OneGradient
from editing.baselines.sequence import EditSequence
from editing.editors.contract import BuildInputs
from editing.editors.registry import editor_named
from editing.errors import RequestError, SpecError
from editing.memit.build import build
from editing.memit.prefixes import context_prefixes
from editing.memit.statistics import Statistics
from editing.model.architectures import locate_parts
from editing.model.hooks import frozen
from editing.requests import EditRequest
from editing.settings import EditSettings
from tests.support import builds
from tests.support.serial import Fact, Hyper, Serial
from tests.support.serial_null_space import SerialNullSpace
from tests.support.serial_one_gradient import one_gradient
from tests.support.serial_rome import rome
from tests.support.zoo import TEXT, Fp64Throughout, tiny, tokenizer

WORDS = tokenizer("byte-bpe")
FACTS = builds.REQUESTS
SETTINGS = replace(builds.SETTINGS, kl=0.0625, weight_decay=0.5, ridge=0.1)
HYPER = Hyper(SETTINGS.steps, SETTINGS.lr, SETTINGS.clamp, SETTINGS.kl, SETTINGS.weight_decay, 1.0)
SEQUENCES = ["rome", "memit_sequence", "null_space_sequence", "one_gradient_sequence"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("\n".join(TEXT * 4), encoding="utf-8")
    return path


def inputs(cache: Path, corpus: Path, editor: str, requests: Any = FACTS, **options: float) -> BuildInputs:
    if editor == "null_space_sequence":
        options = {"threshold": 0.3, "l2": 0.1} | options
    chosen = replace(SETTINGS, editor=editor, options=options)
    return builds.inputs(cache, corpus, requests, chosen)


def fact_of(request: EditRequest) -> Fact:
    before, _, after = request.prompt.partition("{}")
    return Fact(before, request.subject, after, request.target)


def serial_of(model: Any, kind: type[Serial] = Serial) -> Serial:
    parts = locate_parts(model)
    every = range(len(parts.blocks))
    return kind(model, WORDS, parts.blocks, [parts.writer(i) for i in every], [parts.norm(i) for i in every])


def moments_of(model: Any, cache: Path, corpus: Path, layers: tuple[int, ...]) -> list[torch.Tensor]:
    found = Statistics(model, WORDS, SETTINGS, corpus=[corpus], base_digest="base", cache=cache)
    moments = found.compute(locate_parts(model), layers)
    return [moments.load(layer) for layer in layers]


def prefixes_of(model: Any, cache: Path) -> tuple[str, ...]:
    return context_prefixes(model, WORDS, SETTINGS, base_digest="base", cache=cache)


def compare(result: Any, model: Any, before: dict[str, torch.Tensor]) -> None:
    """What the editor returned, against what a plain loop did to `model`."""
    assert result.tensors
    for name, ours in result.tensors.items():
        reference = model.get_parameter(name).detach() - before[name]
        assert float(reference.norm()) > 1e-3
        assert float((ours - before[name] - reference).norm() / reference.norm()) < 1e-7


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_rome_agrees_with_a_plain_reading_of_its_paper_in_fp64(
    architecture: str, tmp_path: Path, corpus: Path
) -> None:
    model = tiny(architecture)
    with Fp64Throughout():
        result = editor_named("rome").edit(model, WORDS, inputs(tmp_path, corpus, "rome", layer=1))
        before = weights(model)
        (moment,) = moments_of(model, tmp_path, corpus, (1,))
        prefixes = prefixes_of(model, tmp_path)
        with frozen(model):
            rome(serial_of(model), [fact_of(request) for request in FACTS], prefixes, HYPER, 1, moment)
    assert result.layers == (1,)
    compare(result, model, before)


@pytest.mark.parametrize("editor", ["memit_sequence", "null_space_sequence"])
def test_a_sequence_with_preserved_keys_agrees_with_a_plain_loop_in_fp64(
    editor: str, tmp_path: Path, corpus: Path
) -> None:
    model, layers = tiny("llama"), SETTINGS.layers
    with Fp64Throughout():
        asked = inputs(tmp_path, corpus, editor, batch=2)
        result = editor_named(editor).edit(model, WORDS, asked)
        before = weights(model)
        prefixes, moments = prefixes_of(model, tmp_path), moments_of(model, tmp_path, corpus, layers)
        with frozen(model):
            serial = PreservingNullSpace if editor == "null_space_sequence" else Preserving
            run = serial_of(model, serial)
            for turn in (FACTS[:2], FACTS[2:]):
                facts = [fact_of(request) for request in turn]
                kept = [[(f"{fact.subject} is a", len(fact.subject), True)] for fact in facts]
                deltas = [
                    run.trajectory([fact], texts, prefixes, HYPER, layers[-1])[0][-1]
                    for fact, texts in zip(facts, kept, strict=True)
                ]
                run.spread(facts, deltas, prefixes, HYPER, layers, moments, [0.0, 0.0], every_context=True)
                run.remember(facts, prefixes, layers)  # type: ignore[attr-defined]
    compare(result, model, before)


class Preserving(Serial):
    """MEMIT whose bracket holds K_p K_pᵀ of the facts before."""

    def remember(self, facts: Any, prefixes: Any, layers: tuple[int, ...]) -> None:
        self.facts = [*getattr(self, "facts", []), *facts]
        self.prefixes, self.layers, self.at = prefixes, layers, 0

    def earlier_keys(self) -> torch.Tensor | None:
        """K_p of the layer whose turn it is, with the weights of this moment."""
        if not getattr(self, "facts", []):
            return None
        layer = self.layers[self.at]
        self.at += 1
        shares = [0.5] + [0.5 / len(self.prefixes)] * len(self.prefixes)
        columns = [
            share**0.5 * self.key(ids, at, layer)
            for fact in self.facts
            for share, (ids, at, _) in zip(shares, self.texts(fact, self.prefixes), strict=True)
        ]
        return torch.stack(columns, 1).double()

    def solved(self, K: Any, R: Any, moment: Any, lam: float, ridge: float) -> torch.Tensor:
        earlier = self.earlier_keys()
        bracket = lam * moment + K @ K.T + (0.0 if earlier is None else earlier @ earlier.T)
        return torch.linalg.solve(bracket, K @ R.T).T


class PreservingNullSpace(Preserving, SerialNullSpace):
    """AlphaEdit with K_p."""

    threshold, l2, ridge = 0.3, 0.1, SETTINGS.ridge

    def solved(self, K: Any, R: Any, moment: Any, lam: float, ridge: float) -> torch.Tensor:
        self.earlier = self.earlier_keys()
        return SerialNullSpace.solved(self, K, R, moment, lam, ridge)


def test_one_gradient_in_turns_agrees_with_a_plain_reading_of_its_paper_in_fp64(
    tmp_path: Path, corpus: Path
) -> None:
    model = tiny("gpt2")
    parts = locate_parts(model)
    with Fp64Throughout():
        asked = inputs(tmp_path, corpus, "one_gradient_sequence", batch=2, lr=0.01, l2=0.5)
        result = editor_named("one_gradient_sequence").edit(model, WORDS, asked)
        before = weights(model)
        turns = [[fact_of(request) for request in turn] for turn in (FACTS[:2], FACTS[2:])]
        one_gradient(model, WORDS, [parts.writer(1), parts.writer(2)], turns, lr=0.01, l2=0.5)
    compare(result, model, before)


@pytest.mark.slow
@pytest.mark.parametrize("editor", SEQUENCES)
def test_the_order_of_facts_matters_and_the_model_stays_as_it_was(
    editor: str, tmp_path: Path, corpus: Path
) -> None:
    model, found = tiny("llama", dtype=torch.float32), editor_named(editor)
    before = weights(model)
    size = {} if editor == "rome" else {"batch": 2.0}
    one = found.edit(model, WORDS, inputs(tmp_path, corpus, editor, **size))
    again = found.edit(model, WORDS, inputs(tmp_path, corpus, editor, **size))
    other = found.edit(model, WORDS, inputs(tmp_path, corpus, editor, FACTS[::-1], **size))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert found.reuse == "order"
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, again.tensors[name])
        assert not torch.allclose(tensor, other.tensors[name], atol=1e-6)
    assert one.cost.groups == one.cost.groups_optimised == len(FACTS)
    assert again.cost.groups_cached == len(FACTS), "the same turns on the same weights"
    assert set(one.cost.growth) == set(one.layers)


@pytest.mark.parametrize("editor", SEQUENCES)
def test_a_forecast_counts_every_fact_since_later_turns_have_other_weights(
    editor: str, tmp_path: Path, corpus: Path
) -> None:
    model, found = tiny("gpt2", dtype=torch.float32), editor_named(editor)
    found.edit(model, WORDS, inputs(tmp_path, corpus, editor))
    expected = found.estimate(model, WORDS, inputs(tmp_path, corpus, editor))
    assert expected.groups == expected.optimised == len(FACTS)


@pytest.mark.parametrize("editor", SEQUENCES)
def test_a_request_that_cannot_be_edited_costs_only_itself(editor: str, tmp_path: Path, corpus: Path) -> None:
    model = tiny("gpt2", dtype=torch.float32)
    contradicting = [*FACTS, replace(FACTS[0], id="other", target="Vienna")]
    with pytest.raises(RequestError, match="drop one of them"):
        editor_named(editor).edit(model, WORDS, inputs(tmp_path, corpus, editor, contradicting))
    partial = replace(inputs(tmp_path, corpus, editor, contradicting), partial=True)
    result = editor_named(editor).edit(model, WORDS, partial)
    rest = editor_named(editor).edit(model, WORDS, inputs(tmp_path, corpus, editor, FACTS[1:]))
    assert set(result.failed) == {"a", "other"}
    assert all(torch.equal(result.tensors[name], rest.tensors[name]) for name in rest.tensors)


def test_a_superseded_or_retracted_fact_s_key_is_preserved_no_longer(tmp_path: Path, corpus: Path) -> None:
    model = tiny("gpt2", dtype=torch.float32)
    before = weights(model)
    sequence = EditSequence(model, WORDS, inputs(tmp_path, corpus, "memit"), build, preserves=True)
    sequence.turn(FACTS[:3])
    sequence.turn([replace(FACTS[0], id="new", target="Vienna")])
    assert [request.id for request in sequence.earlier] == ["b", "c", "new"]
    sequence.retract({"c"})
    assert [request.id for request in sequence.earlier] == ["b", "new"]
    assert not all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    sequence.restore()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_turns_on_other_weights_share_no_cached_results(tmp_path: Path, corpus: Path) -> None:
    model = tiny("gpt2", dtype=torch.float32)
    sequence = EditSequence(model, WORDS, inputs(tmp_path, corpus, "memit"), build)
    first = sequence.turn(FACTS[:1])
    second = sequence.turn(FACTS[:1])
    assert (first.cost.groups_cached, second.cost.groups_cached) == (0, 0)
    assert first.groups != second.groups
    sequence.restore()


def test_a_turn_of_one_gradient_editing_goes_on_with_the_statistics_of_those_before(
    tmp_path: Path, corpus: Path
) -> None:
    model = tiny("gpt2", dtype=torch.float32)
    asked = inputs(tmp_path, corpus, "one_gradient", lr=0.01)
    editing = OneGradient()
    editing.edit(model, WORDS, replace(asked, requests=FACTS[:2]))
    continued = editing.edit(model, WORDS, replace(asked, requests=FACTS[2:]))
    alone = OneGradient().edit(model, WORDS, replace(asked, requests=FACTS[2:]))
    assert any(not torch.equal(continued.tensors[name], alone.tensors[name]) for name in alone.tensors)


@pytest.mark.parametrize(
    ("editor", "options", "said"),
    [
        ("rome", {"batch": 2.0}, "unknown option 'batch' Known are layer"),
        ("memit_sequence", {"batch": 0.5}, "batch = 0.5 has to be a whole number, at least 1"),
        ("null_space_sequence", {"l2": 0.0}, "l2 = 0 has to be a number, above 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    editor: str, options: dict[str, float], said: str, tmp_path: Path, corpus: Path
) -> None:
    with pytest.raises(SpecError, match=said):
        editor_named(editor).edit(None, None, inputs(tmp_path, corpus, editor, **options))


def test_settings_without_layers_use_the_last_of_the_default_ones(tmp_path: Path, corpus: Path) -> None:
    model = tiny("gpt2", dtype=torch.float32)
    asked = inputs(tmp_path, corpus, "rome")
    settings: EditSettings = replace(asked.settings, layers=())
    result = editor_named("rome").edit(model, WORDS, replace(asked, settings=settings))
    assert result.layers == locate_parts(model).default_layers()[-1:]
