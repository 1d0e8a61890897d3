"""The divergence of the next token after prompts that an edit should not touch."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from editing.evaluation.evidence import Evidence
from editing.evaluation.figures import quantile
from editing.evaluation.locality import TOP, divergence, next_token
from editing.evaluation.measures.of_candidate import CANDIDATE_MEASURES
from editing.evaluation.questions import AskedBase, build_questions
from editing.evaluation.responses import Responses
from editing.settings import EditSettings
from editing.spec import BaseAnswer, BuildSpec, Case, FactSpec, Measure
from tests.support.tiny_models import gpt2, learn, tokenizer

NEW = FactSpec(
    "new",
    "The capital of {} is",
    "Italy",
    "Paris",
    known=False,
    base_answer="Rome",
    neighbours=(Case("The capital of Germany is"), Case("The capital of Italy is")),
    same_subject=(Case("The currency of Italy is"),),
)
KNOWN = FactSpec("known", "The capital of {} is", "France", "Paris", known=True, base_answer="Paris")


def exact(base: torch.Tensor, other: torch.Tensor) -> float:
    p, q = base.double().log_softmax(-1), other.double().log_softmax(-1)
    return float((p.exp() * (p - q)).sum())


def test_the_divergence_is_exact_where_every_token_is_kept() -> None:
    base, other = torch.randn(2, TOP, generator=torch.Generator().manual_seed(1))
    assert divergence(next_token(base), other) == pytest.approx(exact(base, other), rel=1e-5)


def test_the_divergence_over_a_large_vocabulary_is_a_lower_bound_that_falls_short_by_the_others_share() -> (
    None
):
    base, other = 4 * torch.randn(2, 5_000, generator=torch.Generator().manual_seed(2))
    found, full = divergence(next_token(base), other), exact(base, other)
    kept = base.topk(TOP).indices
    mask = torch.ones(5_000, dtype=torch.bool).index_fill(0, kept, False)
    rest = float(base.double().softmax(-1)[mask].sum())
    assert found < full
    assert full - found == pytest.approx(rest * exact(base[mask], other[mask]), rel=1e-4)


def test_equal_distributions_do_not_diverge_and_ruined_logits_are_not_a_number() -> None:
    logits = torch.randn(500, generator=torch.Generator().manual_seed(3))
    assert divergence(next_token(logits), logits + 7) == pytest.approx(0, abs=1e-6)
    assert math.isnan(divergence(next_token(logits), torch.full((500,), torch.nan)))


def test_a_token_that_no_model_can_say_does_not_count() -> None:
    logits = torch.full((50,), -torch.inf)
    logits[:3] = torch.tensor([1.0, 2.0, 3.0])
    assert divergence(next_token(logits), logits) == 0


def test_quantiles_are_interpolated() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2
    assert quantile([0.0] * 99 + [1.0], 0.99) == pytest.approx(0.01)
    assert quantile([], 0.5) is None


def measured(base: AskedBase, candidate: Any, *facts: FactSpec) -> dict[str, Measure]:
    """The measures of `candidate`, by name."""
    known = {fact.id: BaseAnswer(bool(fact.known), fact.base_answer or "") for fact in facts}
    needed: dict[str, Any] = {"run": "1", "base": "", "base_digest": "", "out": "", "cache": "", "corpus": ()}
    spec = BuildSpec(**needed, heldout=None, facts=facts, settings=EditSettings(), generate=0)
    asked = build_questions(base, spec, known, [])
    base.responses.speak(base.model, base.tokenizer, asked)
    own = Responses(base=base.responses)
    own.respond(candidate, base.tokenizer, asked)
    evidence = Evidence(
        base.tokenizer, facts, known, asked, base.responses, own, None, {}, {}, growth=1.0, live_growth=None
    )
    figures = {
        m.name: m.figure(evidence) for m in CANDIDATE_MEASURES if m.name.startswith("kl_") and m.figure
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


@pytest.fixture(scope="module")
def model() -> Any:
    model = gpt2()
    learn(model)
    return model


def test_a_candidate_that_answers_as_before_but_less_surely_is_seen(model: Any) -> None:
    base = AskedBase(model, tokenizer(), Responses())
    unchanged = measured(base, model, NEW, KNOWN)
    assert unchanged["kl_median"].n == 3, (
        "two probes and a known fact; the probe that the view edits may change"
    )
    assert unchanged["kl_p99"].value == pytest.approx(0, abs=1e-5)
    flatter = copy.deepcopy(model)
    with torch.no_grad():
        flatter.transformer.ln_f.weight *= 0.5
        flatter.transformer.ln_f.bias *= 0.5  # the logits are halved: the likeliest token stays the same
    moved = measured(base, flatter, NEW, KNOWN)
    assert moved["kl_median"].value > 0.01  # type: ignore[operator]
    assert moved["kl_p99"].value >= moved["kl_median"].value  # type: ignore[operator]


def test_a_view_without_untouched_prompts_has_no_case(model: Any) -> None:
    base = AskedBase(model, tokenizer(), Responses())
    alone = replace(NEW, neighbours=(), same_subject=())
    assert [(one.n, one.k, one.value) for one in measured(base, model, alone).values()] == [(0, 0, None)] * 2


def test_a_figure_that_could_not_be_read_at_first_is_read_once_it_can_be(model: Any) -> None:
    """The first view has no held-out text, the second has; the worker keeps the base's answers between them."""
    base = AskedBase(model, tokenizer(), Responses())
    spec = BuildSpec("1", "b", "d", "o", "c", (), None, (), EditSettings(layers=(0,)), generate=0)
    for windows, read in (([], False), ([torch.arange(8)[None]], True)):
        base.responses.speak(model, base.tokenizer, build_questions(base, spec, {}, windows))
        assert (base.responses.readings["perplexity_ratio"] is not None) is read
