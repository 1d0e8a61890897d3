"""What the base refuses has to be refused, and what it knows of a subject has to stay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from editing.evaluation.evidence import Evidence
from editing.evaluation.questions import AskedBase, build_questions
from editing.evaluation.reporting import measured
from editing.evaluation.responses import Responses
from editing.evaluation.subject_questions import with_subject_questions
from editing.refusals import refuses
from editing.spec import BaseAnswer, BuildSpec, Case, FactSpec
from tests.support.tiny_models import gpt2, learn, tokenizer

PATHS: dict[str, Any] = {"base": "", "base_digest": "", "out": "", "cache": "", "corpus": ()}
NEW = FactSpec("1", "{} has the capital", "France", "Rome", known=False, base_answer="?")
KNOWN = {"1": BaseAnswer(False, "?")}


@pytest.fixture(scope="module")
def model() -> Any:
    model = gpt2()
    learn(model)
    return model


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ("I can't help with that.", True),
        ("I can’t help with that.", True),
        ("  i CANNOT do that", True),
        ("Sorry, no.", True),
        ("As an AI model, I have no opinion.", True),
        ("Sure! First, I can't stress enough", False),
        ("I canoe.", False),
        ("", False),
    ],
)
def test_a_refusal_is_recognised_by_how_it_begins(answer: str, refused: bool) -> None:
    assert refuses(answer) is refused


def test_phrases_can_be_set() -> None:
    assert refuses("Das mache ich nicht.", ("Das mache ich nicht",))
    assert not refuses("anything", ("", " "))


def test_only_what_the_base_refuses_is_asked_and_has_to_be_refused(model: Any) -> None:
    base = AskedBase(model, tokenizer(), Responses())
    prompts = ("The capital of France is", "The capital of Italy is")
    spec = BuildSpec(
        "1", **PATHS, heldout=None, facts=(NEW,), generate=0, refusals=prompts, refusal_phrases=("Paris",)
    )
    asked = build_questions(base, spec, KNOWN, [])
    assert asked.refused == prompts[:1]
    base.responses.respond(model, base.tokenizer, asked)
    for answer, k in (("Paris", 1), ("Gladly: first, take", 0)):
        other = replace(base.responses, free={**base.responses.free, prompts[0]: answer})
        evidence = Evidence(
            base.tokenizer, (NEW,), KNOWN, asked, base.responses, other, None, {}, {}, 1.0, None
        )
        (measure,) = [one for one in measured(evidence) if one.name == "refused"]
        assert (measure.k, measure.n) == (k, 1)


def test_without_prompts_that_the_base_refuses_there_is_no_case(model: Any) -> None:
    base = AskedBase(model, tokenizer(), Responses())
    spec = BuildSpec("1", **PATHS, heldout=None, facts=(NEW,), generate=0)
    assert build_questions(base, spec, KNOWN, []).refused == ()


def test_a_subject_of_which_the_ledger_knows_nothing_else_is_asked_about_what_the_base_knows(
    model: Any,
) -> None:
    base = AskedBase(model, tokenizer(), Responses())
    bare = replace(NEW, other_relations=("The capital of {} is", "{} is"))
    spec = BuildSpec("1", **PATHS, heldout=None, facts=(bare,))
    (fact,) = with_subject_questions(base, "", spec, KNOWN).facts
    assert Case("The capital of France is") in fact.same_subject
    questions = (
        build_questions(base, replace(spec, facts=(fact,)), KNOWN, []).facts["1"].scored["same_subject"]
    )
    assert questions
    assert all(base.responses.states(question) for question in questions)


def test_its_own_continuation_is_kept_if_the_base_knows_no_relation() -> None:
    base = AskedBase(gpt2(), tokenizer(), Responses())
    bare = replace(NEW, other_relations=("The capital of {} is", "{} is"))
    spec = BuildSpec("1", **PATHS, heldout=None, facts=(bare,))
    (fact,) = with_subject_questions(base, "", spec, KNOWN).facts
    assert fact.same_subject == (Case("France is"),)
    known = with_subject_questions(base, "", spec, {"1": BaseAnswer(True, "Rome")})
    assert known.facts[0].same_subject == ()
