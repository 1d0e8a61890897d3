"""The engine does what the paper says: held against a plain serial reading, on every architecture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from editing.memit.groups import form_groups
from editing.memit.keys import Collector, Site
from editing.memit.solvers import LeastSquares
from editing.memit.spread import spread
from editing.memit.statistics import Moments
from editing.memit.targets import Optimisation
from editing.model.architectures import TABLE, Parts, locate_parts
from editing.model.hooks import frozen
from editing.requests import EditRequest
from editing.settings import EditSettings
from tests.support.serial import Fact, Hyper, Serial
from tests.support.zoo import DESCRIBED, SHAPES, TOKENIZERS, Fp64Throughout, tiny, tokenizer

PAIRS = list(zip([*sorted(SHAPES), *sorted(DESCRIBED)], cycle(TOKENIZERS), strict=False))
QUICK = ("falcon", "gemma3_text", "gpt2", "gptj", "llama", "opt", "qwen3")
"""Architectures of which whole optimisations are compared in the quick tests."""
SETTINGS = EditSettings(
    layers=(1, 2), steps=4, lr=0.3, clamp=0.5, kl=0.0625, weight_decay=0.5, lam=3.0, stop_loss=-1.0
)
HYPER = Hyper(4, 0.3, 0.5, 0.0625, 0.5, 3.0)
PREFIXES = ("The rain in Rome", "You know that 日本 state")

words = st.sampled_from(
    (
        "Rome",
        "Paris",
        "Jonas",
        "Ludwig",
        "Curie",
        "state",
        "capital",
        "東京",
        "Zürich",
        "Zu\u0308rich",
        "مصر",
        "ירושלים",
        "of",
        "the",
        "é",
        "i",
    )
)
phrases = st.lists(words, min_size=1, max_size=3).map(" ".join)
befores = st.one_of(st.just(""), phrases.map(lambda phrase: phrase + " "))
afters = st.one_of(st.just(""), phrases.map(lambda phrase: " " + phrase), st.just("'s capital is"))


@st.composite
def facts(draw: Any) -> list[Fact]:
    """One to three facts about different subjects: each its own key group."""
    subjects = draw(st.lists(phrases, min_size=1, max_size=3, unique=True))
    return [
        Fact(
            draw(befores | st.just(f"Not {subject}, but ")),
            subject,
            draw(afters | st.just(f", {subject} is")),
            draw(phrases),
        )
        for subject in subjects
    ]


TWICE = [
    Fact("Not Rome, but ", "Rome", ", Rome is", "Paris"),
    Fact("", "Zu\u0308rich", "'s capital is", "東京 ירושלים"),
    Fact("日本の", "東京", "は", "مصر"),
]
"""A subject before and after its place, combining marks, scripts without spaces, right to left."""


def parts_of(model: Any) -> Parts:
    """By the table, or as the settings would describe it."""
    kind = model.config.model_type
    return locate_parts(model, DESCRIBED[kind][1] if kind in DESCRIBED else None)


def in_sight(model: Any, groups: Any) -> bool:
    """Whether a sliding window reaches from each target to its subject: else no δ does anything."""
    window = getattr(model.config.get_text_config(), "sliding_window", None) or 1 << 30
    return all(len(term.text.ids) - term.text.subject <= window for group in groups for term in group.terms)


def requests_of(facts: list[Fact]) -> list[EditRequest]:
    return [
        EditRequest(str(index), f"{fact.before}{{}}{fact.after}", fact.subject, fact.target)
        for index, fact in enumerate(facts)
    ]


def serial_of(model: Any, kind: str, parts: Parts) -> Serial:
    layers = range(len(parts.blocks))
    writers = [parts.writer(layer) for layer in layers]
    norms = [parts.norm(layer) for layer in layers]
    return Serial(model, tokenizer(kind), parts.blocks, writers, norms)


def close(ours: torch.Tensor, reference: torch.Tensor, relative: float) -> None:
    assert float((ours - reference).norm()) <= relative * max(float(reference.norm()), 1e-3)


def kept_of(fact: Fact) -> list[tuple[str, int, bool]]:
    return [(f"{fact.subject} is a", len(fact.subject), True)]


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [pytest.param(*pair, marks=[] if pair[0] in QUICK else pytest.mark.slow) for pair in PAIRS],
)
@settings(max_examples=2, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(drawn=facts(), every_context=st.booleans())
@example(drawn=TWICE, every_context=True)
@example(drawn=TWICE[:2], every_context=False)
def test_trajectory_keys_and_update_agree_with_the_serial_reading_in_fp64(
    architecture: str, kind: str, drawn: list[Fact], every_context: bool
) -> None:
    model = tiny(architecture)
    parts = parts_of(model)
    unsayable: dict[str, Any] = {}  # a tokenizer may not know all characters
    groups = form_groups(
        tokenizer(kind),
        requests_of(drawn),
        prefixes=PREFIXES,
        kl_prompts={},
        identity={},
        failed=unsayable.setdefault,
    )
    assume(groups)
    assume(len(groups) + len(unsayable) == len(drawn))  # prompts that share a key have a test of their own
    assume(in_sight(model, groups))
    serial = serial_of(model, kind, parts)
    ordered = [drawn[int(group.requests[0].id)] for group in groups]
    with frozen(model), Fp64Throughout():
        optimisation = Optimisation(model, parts, groups, SETTINGS, layer=2)
        ours = []
        for _ in range(SETTINGS.steps - 1):
            optimisation.update(optimisation.gradient())
            ours.append(optimisation.delta.clone())
        for index, fact in enumerate(ordered):
            reference, _ = serial.trajectory([fact], kept_of(fact), PREFIXES, HYPER, 2)
            for step, delta in enumerate(reference):
                close(ours[step][index], delta, 1e-8)
        compare_spread(model, parts, serial, groups, ordered, ours[-1], every_context)


def compare_spread(
    model: Any,
    parts: Parts,
    serial: Serial,
    groups: Any,
    ordered: list[Fact],
    deltas: torch.Tensor,
    every: bool,
) -> None:
    layers = (1, 2)
    generator = torch.Generator().manual_seed(1)
    moments = {}
    for layer in layers:
        keys = torch.randn(200, parts.key_width(layer), generator=generator, dtype=torch.float64)
        moments[layer] = keys.T @ keys / 200
    names = [parts.weight_name(layer) for layer in layers]
    weights = [parts.writer(layer).weight for layer in layers]
    before = [weight.detach().clone() for weight in weights]
    chosen = EditSettings(layers=layers, lam=3.0, keys="all" if every else "average")
    # One draw goes by Woodbury's form, the other by the dense one.
    held = Moments(moments.__getitem__)
    with recorded_keys() as seen:
        result = spread(
            Site(model, parts, layers, chosen), groups, deltas, LeastSquares(held, 3.0, woodbury=every)
        )
    for weight, saved in zip(weights, before, strict=True):
        weight.data.copy_(saved)
    reference = serial.spread(
        ordered,
        list(deltas),
        PREFIXES,
        HYPER,
        layers,
        [moments[layer] for layer in layers],
        [result.ridges[layer] for layer in layers],
        every_context=every,
    )
    contexts = len(PREFIXES) + 1 if every else 1
    for name, layer, saved, (keys, update) in zip(names, layers, before, reference, strict=True):
        for (group, context), key in seen[layer].items():
            close(key, keys[:, group * contexts + context], 1e-8)
        assert len(seen[layer]) == keys.shape[1]
        ours = result.tensors[name] - saved
        close(ours.T if parts.transposed(layer) else ours, update, 1e-8)


@contextmanager
def recorded_keys() -> Iterator[dict[int, dict[tuple[int, int], torch.Tensor]]]:
    """Layer → (group, context) → the weighted key that the engine puts into K, while a spread is at work."""
    seen: dict[int, dict[tuple[int, int], torch.Tensor]] = {}
    columns = Collector.columns

    def recording(self: Collector, chunk: Any, layer: int, share: float, *, first: bool) -> Any:
        found = columns(self, chunk, layer, share, first=first)
        for context, (keys, _) in enumerate(found):
            for row, group in enumerate(chunk):
                seen.setdefault(layer, {})[group, context] = keys[row].clone()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Collector, "columns", recording)
        yield seen


@pytest.mark.parametrize("size", [0.0, 0.5])
@pytest.mark.parametrize(("architecture", "kind"), PAIRS)
def test_single_gradients_agree_in_fp32(architecture: str, kind: str, size: float) -> None:
    """At δ = 0, where the KL term has no gradient, and away from it."""
    model = tiny(architecture, dtype=torch.float32)
    parts = parts_of(model)
    fact = Fact("The capital of ", "France", " is", "Rome now")
    groups = form_groups(tokenizer(kind), requests_of([fact]), prefixes=PREFIXES, kl_prompts={}, identity={})
    delta = size * torch.randn(parts.width, generator=torch.Generator().manual_seed(2))
    with frozen(model):
        optimisation = Optimisation(model, parts, groups, SETTINGS, layer=2)
        optimisation.gradient()  # the first one, at 0, keeps what the KL term compares with
        optimisation.delta = delta[None].clone()
        ours = optimisation.gradient()[0]
        serial = serial_of(model, kind, parts)
        delta.requires_grad_(True)
        loss = serial.loss([fact], kept_of(fact), PREFIXES, HYPER, 2, delta, optimisation.norm[0])
        (reference,) = torch.autograd.grad(loss, delta)
    close(ours, reference, 1e-4)


def test_every_architecture_of_the_table_is_tested() -> None:
    assert set(SHAPES) == set(TABLE)


def test_one_joint_delta_serves_the_facts_of_a_group_and_keeps_what_is_known() -> None:
    model, kind = tiny("gpt2"), "byte-bpe"
    parts = locate_parts(model)
    pair = [
        Fact("", "Jonas", " has the capital", "Rome"),
        Fact("", "Jonas", " is the state of", "Curie Paris"),
    ]
    known = "Jonas lives in the capital"
    groups = form_groups(
        tokenizer(kind), requests_of(pair), prefixes=PREFIXES, kl_prompts={"Jonas": [known]}, identity={}
    )
    assert len(groups) == 1
    kept = [*kept_of(pair[0]), (known, len("Jonas"), False)]
    with frozen(model), Fp64Throughout():
        optimisation = Optimisation(model, parts, groups, SETTINGS, layer=2)
        reference, _ = serial_of(model, kind, parts).trajectory(pair, kept, PREFIXES, HYPER, 2)
        for delta in reference:
            optimisation.update(optimisation.gradient())
            close(optimisation.delta[0], delta, 1e-8)
