"""A model that is spread over two devices is edited, judged and traced as if it were on one.

Run by `test_spread_model.py` in a process of its own: PyTorch counts devices when autograd is first used, and a device
that pretends, once registered, stays for good.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from editing.evaluation.generation import generate
from editing.evaluation.isolated import stated_alone
from editing.evaluation.metrics import answers, perplexity, text_windows
from editing.evaluation.scoring import encode_targets, score
from editing.memit import keys, target_batches
from editing.memit.build import MemitResult
from editing.model import architectures
from editing.model.architectures import locate_parts
from editing.model.prefix_cache import deviation
from editing.model.tokens import locate, passage
from editing.preflight import Preflight
from editing.settings import AUTO
from editing.tracing.interventions import Interventions, KnownFact
from tests.support.builds import REQUESTS, SETTINGS, built
from tests.support.pretended_devices import Pretended, pretended_devices, spread
from tests.support.zoo import TEXT, tiny, tokenizer

A, B = "cpu", "pretend:0"
LAYOUTS = {
    "halves": ((A, A, B, B), A, B),
    "alternating": ((B, A, B, A), A, B),
    "three stretches": ((B, A, A, B), B, A),
}
"""Name → (devices of the blocks, of the embedding, of the head)."""
NEAR = 1e-9
"""Relative to the largest entry, in fp64: attention is another kernel there, and a solve amplifies the last bits."""
SHORT = replace(
    SETTINGS, steps=3, prefixes=1, statistics_samples=10, lam=AUTO, ridge=1e-3, keep=0.5, keys="all"
)
WORDS = tokenizer("byte-bpe")


@pytest.fixture(autouse=True)
def pretending(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    plain = architectures._is_plain_matrix

    def accepted(weight: object) -> bool:
        # A pretended tensor is a wrapper, which the engine refuses: packed or sharded weights are such, too.
        return plain(torch.nn.Parameter(weight.inner, False) if isinstance(weight, Pretended) else weight)

    monkeypatch.setattr(architectures, "_is_plain_matrix", accepted)
    with pretended_devices():
        yield


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(TEXT * 4), encoding="utf-8")
    return path


def model_of(kind: str, layout: str | None) -> Any:
    depth = "n_layer" if kind == "gpt2" else "num_hidden_layers"
    model = tiny(kind, dtype=torch.float64, **{depth: 4})
    if layout is None:
        return model
    places, embedding, head = LAYOUTS[layout]
    return spread(model, locate_parts(model), places, embedding=embedding, head=head)


def check_same(found: MemitResult, expected: MemitResult) -> None:
    assert found.prefixes == expected.prefixes
    assert found.deltas.keys() == expected.deltas.keys()
    for key, delta in expected.deltas.items():
        assert deviation(found.deltas[key].value, delta.value) <= NEAR
    for name, tensor in expected.tensors.items():
        assert deviation(found.tensors[name].cpu(), tensor) <= NEAR
    assert found.cost.lam == expected.cost.lam


@pytest.mark.parametrize(
    ("kind", "layout", "changes"),
    [
        ("gpt2", "halves", {}),
        ("llama", "alternating", {"optimiser": "lbfgs", "keys": "average"}),
        ("gemma2", "three stretches", {}),
    ],
)
def test_a_build_on_two_devices_gives_what_it_gives_on_one(
    kind: str, layout: str, changes: Any, tmp_path: Path, corpus: Path
) -> None:
    settings = replace(SHORT, **changes)
    given: dict[str, Any] = {"kept": [("{} was born in", "Ludwig")], "preserved": REQUESTS[2:]}
    told: list[Preflight] = []
    found, expected = (
        built(
            tmp_path / str(place),
            corpus,
            REQUESTS[:2],
            settings,
            model=model_of(kind, place),
            planned=told.append,
            **given,
        )
        for place in (layout, None)
    )
    check_same(found, expected)
    assert [one.devices for one in told] == [2, 1]
    assert told[0].bytes_model == told[1].bytes_model
    assert told[1].bytes_device > told[0].bytes_device > told[0].bytes_model / 3


def test_rows_that_are_run_whole_are_spread_too(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (keys, target_batches):
        monkeypatch.setattr(module, "runs_suffixes", lambda model: False)
    found, expected = (
        built(tmp_path / str(place), corpus, REQUESTS[:2], SHORT, model=model_of("llama", place))
        for place in ("three stretches", None)
    )
    check_same(found, expected)


def asked(model: Any, scratch: Path, corpus: Path) -> dict[str, Any]:
    """What is measured of a model and of an edit of it."""
    result = built(scratch, corpus, REQUESTS[:2], SHORT, model=model)
    prompts = [request.rendered for request in REQUESTS]
    pairs = [(request.rendered, request.target) for request in REQUESTS]
    (text,) = locate(WORDS, [passage(REQUESTS[1])])
    noise = torch.randn(2, text.subject + 1, 32, generator=torch.Generator().manual_seed(0))
    fact = KnownFact(text.ids, 0, text.subject, text.target)
    with torch.inference_mode():
        traced = Interventions(model, locate_parts(model), fact, noise, 2)
        effects, severed = traced.effects("attention"), traced.severed("mlp")
    return {
        "alone": stated_alone(model, WORDS, REQUESTS[:2], result),
        "answers": answers(model, WORDS, prompts),
        "logprobs": [item.logprob for item in score(model, encode_targets(WORDS, pairs))],
        "perplexity": perplexity(model, text_windows(model, WORDS, corpus, tokens=60)),
        "generated": generate(model, WORDS, prompts, tokens=4, seed=1),
        "severed": severed,
        "effects": effects,
    }


def test_questions_and_traces_on_two_devices_are_answered_as_on_one(tmp_path: Path, corpus: Path) -> None:
    found, expected = (
        asked(model_of("llama", place), tmp_path / str(place), corpus) for place in ("alternating", None)
    )
    for name, value in expected.items():
        assert found[name] == (value if name in EXACT else pytest.approx(value, rel=1e-6, abs=1e-9)), name
    assert math.isfinite(found["perplexity"])


EXACT = ("alone", "answers", "generated")


def test_an_operation_on_two_devices_is_refused() -> None:
    """Or the tests above would prove nothing."""
    here, there = torch.ones(2), torch.ones(2, device=B)
    with pytest.raises(RuntimeError, match="same device"):
        here + there
    with pytest.raises(RuntimeError, match="same device"):
        here[there.long()]
    assert (there + torch.tensor(1.0)).device == torch.device(B)
    assert there[torch.tensor([0])].device == torch.device(B)
    assert torch.equal(there.to(A), here)
