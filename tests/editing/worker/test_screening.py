"""What one fact of a spec cannot have costs that fact, that wording or that probe, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from editing.spec import Case, FactSpec, Wording
from tests.support.rounds import Rounds
from tests.support.tiny_models import gpt2

ITALY = FactSpec("italy", "The capital of {} is", "Italy", "Paris")
JAPAN = FactSpec("japan", "The currency of {} is the", "Japan", "yen")
LONG = "a very " * 60 + "long name"


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> Rounds:
    return Rounds(tmp_path_factory.mktemp("rounds"))


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (FactSpec("x", "{} is in", LONG, "Rome"), "too_long"),
        (FactSpec("x", "{} is in", "Rome", LONG), "too_long"),
        (FactSpec("x", "{} is in", "<|endoftext|>", "Rome"), "label_special"),
        (FactSpec("x", "{} is in", "Rome", "Italy<|endoftext|>"), "label_special"),
    ],
)
@pytest.mark.parametrize("mode", ["build", "ask"])
def test_an_impossible_fact_is_reported_and_the_others_are_as_without_it(
    bad: FactSpec, code: str, mode: str, rounds: Rounds
) -> None:
    report = rounds.run(ITALY, bad, JAPAN, mode=mode)
    twin = rounds.run(ITALY, JAPAN, mode=mode)
    assert [(item.id, item.code, item.wording) for item in report.failures] == [("x", code, "")]
    assert report.checkpoint_digest == twin.checkpoint_digest
    assert report.facts == twin.facts
    assert report.measures == twin.measures
    assert twin.failures == ()


def test_a_further_wording_that_cannot_be_used_is_left_out_and_its_fact_is_edited(rounds: Rounds) -> None:
    aliases = (
        Wording(ITALY.prompt, "Italia<|endoftext|>", "Paris"),
        Wording(ITALY.prompt, "Italia", "Paris"),
    )
    report = rounds.run(replace(ITALY, further=aliases))
    twin = rounds.run(replace(ITALY, further=aliases[1:]))
    (failure,) = report.failures
    assert (failure.id, failure.code) == ("italy", "label_special")
    assert failure.wording == "The capital of Italia<|endoftext|> is"
    assert report.checkpoint_digest == twin.checkpoint_digest


def test_a_fact_that_fails_takes_its_further_wordings_with_it(rounds: Rounds) -> None:
    bad = FactSpec("x", "{} is in", LONG, "Rome", further=(Wording("{} is in", "Latium", "Rome"),))
    assert rounds.run(JAPAN, bad).checkpoint_digest == rounds.run(JAPAN).checkpoint_digest


def test_a_probe_that_cannot_be_asked_is_left_out(rounds: Rounds) -> None:
    probed = replace(
        ITALY,
        previous=LONG,
        paraphrases=(LONG, "Italy: the capital is"),
        neighbours=(Case(LONG), Case("The capital of France is")),
        same_subject=(Case(f"Italy {LONG}"), Case("The currency of Italy is")),
        reversed=(Case(LONG, "Italy"),),
    )
    report = rounds.run(probed)
    assert report.failures == ()
    (fact,) = report.facts
    asked = ("paraphrase", "neighbourhood", "same_subject")
    assert [len(fact.outcomes[measure]) for measure in asked] == [1, 1, 1]
    assert fact.p_old is None


def test_a_prompt_that_fills_the_context_is_asked_and_answered(rounds: Rounds) -> None:
    from editing.evaluation.metrics import answers
    from tests.support.tiny_models import tokenizer

    model, words = gpt2(), tokenizer()
    full = "a" * 200
    while len(words(full)["input_ids"]) > 126:
        full = full[:-1]
    short = "The capital of Italy is"
    alone = answers(model, words, [short])
    assert answers(model, words, [full, short])[1:] == alone


def test_a_plan_leaves_out_what_cannot_be_built(rounds: Rounds) -> None:
    report = rounds.run(ITALY, FactSpec("x", "{} is in", LONG, "Rome"), mode="plan", out="")
    assert [item.id for item in report.failures] == ["x"]
    assert report.cost.preflight is not None
    assert report.cost.preflight.groups == 1
