"""Causal tracing: every intervention does what it says, on architectures with and without tuple outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from editing.errors import DataError
from editing.model.architectures import locate_parts
from editing.requests import EditRequest
from editing.tracing.figures import plot
from editing.tracing.interventions import ROLES
from editing.tracing.report import markdown, peak
from editing.tracing.trace import TraceResult, TraceSettings, _known, trace
from tests.support.tiny_models import gpt2, learn, llama, tokenizer

FACTS = [
    EditRequest("france", "The capital of {} is", "France", "Paris"),
    EditRequest("us", "The president of {} is", "the United States", "Joe"),
    EditRequest("japan", "The currency of {} is the", "Japan", "yen"),
]
UNKNOWN = EditRequest("x", "The capital of {} is", "France", "Osnabrück")


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def model(request: pytest.FixtureRequest) -> Any:
    model = gpt2() if request.param == "gpt2" else llama()
    learn(model)
    return model


@pytest.fixture(scope="module")
def result(model: Any) -> TraceResult:
    return trace(model, tokenizer(), [*FACTS, UNKNOWN], TraceSettings(samples=4, window=2))


def test_only_what_the_model_knows_is_traced(model: Any, result: TraceResult) -> None:
    assert result.facts == len(FACTS)
    assert 0 <= result.corrupted < result.clean <= 1
    with pytest.raises(DataError, match="states none"):
        trace(model, tokenizer(), [UNKNOWN])


def test_when_the_time_is_up_no_further_fact_is_traced(model: Any) -> None:
    found = trace(model, tokenizer(), FACTS, TraceSettings(samples=1, window=2, minutes=0.0))
    whole = trace(model, tokenizer(), FACTS[:1], TraceSettings(samples=1, window=2))
    assert found.facts == 1
    assert found.clean == pytest.approx(whole.clean, abs=1e-6)


def test_the_subject_is_found_by_its_first_and_last_token(model: Any) -> None:
    tok = tokenizer()
    for fact, request in zip(_known(model, tok, FACTS), FACTS, strict=True):
        assert tok.decode(fact.ids[fact.first : fact.last + 1]).strip() == request.subject
        assert tok.decode(fact.ids[fact.prompt :]).strip() == request.target
        tokens = sorted(token for tokens in fact.roles().values() for token in tokens)
        assert tokens == list(range(fact.first, fact.prompt))


def test_the_last_state_of_the_last_token_is_the_whole_answer(result: TraceResult) -> None:
    last = result.effects["state"][-1][ROLES.index("last token")]
    assert last == pytest.approx(result.clean - result.corrupted, abs=1e-4)


def test_severing_nothing_is_restoring_the_state_at_the_last_subject_token(result: TraceResult) -> None:
    column = [row[ROLES.index("last subject token")] for row in result.effects["state"]]
    assert result.severed["nothing"] == pytest.approx(column, abs=1e-6)
    assert result.severed["mlp"][-1] == pytest.approx(result.severed["nothing"][-1], abs=1e-6)
    assert result.cost_of_severing()[-1] == pytest.approx(0, abs=1e-6)


def test_one_restored_mlp_by_hand(model: Any) -> None:
    """One noise sample, one fact, a window of one: against hooks written out."""
    found = trace(model, tokenizer(), FACTS[:1], TraceSettings(samples=1, window=0, seed=3))
    (fact,) = _known(model, tokenizer(), FACTS[:1])
    parts = locate_parts(model)
    ids = torch.tensor([fact.ids])
    width = fact.last + 1 - fact.first
    noise = torch.randn(1, width, parts.width, generator=torch.Generator().manual_seed(3)) * 3 * found.sigma
    clean: list[torch.Tensor] = []
    layer = 1

    def corrupt(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        output[:, fact.first : fact.last + 1] += noise
        return output

    def restore(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        output[:, fact.last] = clean[0][:, fact.last]
        return output

    @torch.no_grad()
    def probability() -> float:
        logprobs = model(ids).logits[0].log_softmax(-1)
        return float(sum(logprobs[i - 1, fact.ids[i]] for i in range(fact.prompt, len(fact.ids))).exp())

    with torch.no_grad():
        look = parts.writer(layer).register_forward_hook(lambda _, __, output: clean.append(output))
        model(ids)
        look.remove()
    first = model.get_input_embeddings().register_forward_hook(corrupt)
    corrupted = probability()
    second = parts.writer(layer).register_forward_hook(restore)
    restored = probability()
    first.remove()
    second.remove()
    assert found.corrupted == pytest.approx(corrupted, abs=1e-5)
    effect = found.effects["mlp"][layer][ROLES.index("last subject token")]
    assert effect == pytest.approx(restored - corrupted, abs=1e-5)


def test_the_same_seed_gives_the_same_trace(model: Any, result: TraceResult) -> None:
    assert trace(model, tokenizer(), [*FACTS, UNKNOWN], TraceSettings(samples=4, window=2)) == result


def test_suggested_layers_are_where_severing_the_mlps_costs_most() -> None:
    severed = {"nothing": [0.1, 0.5, 0.6, 0.6, 0.6, 0.6], "mlp": [0.1, 0.1, 0.1, 0.5, 0.6, 0.6]}
    result = TraceResult(1, 1.0, 1.0, 0.0, {}, severed)
    assert result.suggested_layers(2) == (1, 2)
    assert result.suggested_layers(99) == (1, 2, 3)


def test_layers_whose_severing_costs_nothing_are_not_recommended() -> None:
    severed = {"nothing": [0.3, 0.3, 0.3, 0.3], "mlp": [0.246, 0.288, 0.3, 0.3]}
    result = TraceResult(1, 1.0, 1.0, 0.0, {}, severed)
    assert result.suggested_layers(3) == (0, 1)
    nowhere = TraceResult(1, 1.0, 1.0, 0.0, {}, {"nothing": [0.3, 0.3, 0.3], "mlp": [0.3, 0.3, 0.3]})
    assert len(nowhere.suggested_layers(2)) == 1  # something has to be edited


def test_every_mean_has_an_interval_over_facts(result: TraceResult) -> None:
    assert len(result.cost_intervals) == len(result.severed["mlp"])
    for cost, (low, high) in zip(result.cost_of_severing(), result.cost_intervals, strict=True):
        assert low - 1e-9 <= cost <= high + 1e-9
    for kind, rows in result.effects.items():
        for row, bounds in zip(rows, result.effect_intervals[kind], strict=True):
            for value, interval in zip(row, bounds, strict=True):
                assert (value is None) == (interval is None)
                if value is not None and interval is not None:
                    assert interval[0] <= value <= interval[1]


def test_the_page_has_every_figure_and_says_where_restoring_helps_most(result: TraceResult) -> None:
    page = markdown(result)
    depth, kinds = len(result.severed["mlp"]), len(result.effects)
    assert page.count("\n| 0 |") == 1 + kinds
    assert page.count(f"\n| {depth - 1} |") == 1 + kinds
    effects = {"state": [[0.1, None, 0.7, 0.2, None, 0.9], [0.0, None, 0.3, 0.1, None, 1.0]]}
    peaked = TraceResult(1, 1.0, 1.0, 0.0, effects, result.severed)
    assert peak(peaked, "state") == "Restored state recovers most at the last subject token, layer 0: 0.700."


@pytest.mark.parametrize("name", ["figures.png", "figures.svg"])
def test_heat_maps_and_bars_are_drawn(result: TraceResult, tmp_path: Path, name: str) -> None:
    plot(result, tmp_path / name, count=2)
    assert (tmp_path / name).stat().st_size > 10_000


def test_no_hook_outlives_a_trace(model: Any, result: TraceResult) -> None:
    assert not any(module._forward_hooks for module in model.modules())
