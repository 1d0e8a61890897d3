"""Facts asked after other text, in a question and under negation, and whether a base can answer such questions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from editing.evaluation.ability import CONTEXT_TOKENS, PASSAGES, ordinary_texts, stated_by_base
from editing.evaluation.evidence import Evidence
from editing.evaluation.measures.robustness import after_distractor, after_long_text, confirmed, negated
from editing.evaluation.questions import AskedBase, build_questions
from editing.evaluation.reporting import fact_reports, measured
from editing.evaluation.responses import Responses
from editing.evaluation.scoring import Score
from editing.spec import BaseAnswer, BuildSpec, Case, FactReport, FactSpec, Measure
from tests.support.tiny_models import gpt2, tokenizer

ITALY = FactSpec(
    "1",
    "The capital of {} is",
    "Italy",
    "Turin",
    previous="Rome",
    contexts=("It rained.",),
    about_subject=("The currency of Italy is the euro.", "never asked"),
)


def test_a_fact_is_asked_after_other_text() -> None:
    assert after_long_text(ITALY) == (Case("It rained. The capital of Italy is", "Turin"),)
    assert after_distractor(ITALY) == (
        Case("Much has been written about Italy. The capital of Italy is", "Turin"),
        Case("The currency of Italy is the euro. The capital of Italy is", "Turin"),
    )


def test_what_replaced_another_object_is_to_be_confirmed_and_the_other_denied() -> None:
    assert confirmed(ITALY) == (
        Case("Is it true that the capital of Italy is Turin? Answer Yes or No.", "Yes"),
        Case("Is it true that the capital of Italy is Rome? Answer Yes or No.", "No"),
    )
    assert confirmed(replace(ITALY, previous=None)) == ()


@pytest.mark.parametrize(
    ("template", "subject", "clause"),
    [
        ("The capital of {} is", "Italy", "the capital of Italy is"),
        ("{} has the capital", "Italy", "Italy has the capital"),
        ("The following is true. {} has the capital", "Italy", "Italy has the capital"),
        ("NATO's member {} has the capital", "Italy", "NATO's member Italy has the capital"),
        ("A river in {} is called", "Italy", "a river in Italy is called"),
        ("{} has the head", "de Gaulle", "de Gaulle has the head"),
    ],
)
def test_a_prompt_becomes_a_clause_in_which_names_keep_their_capitals(
    template: str, subject: str, clause: str
) -> None:
    fact = replace(ITALY, prompt=template, subject=subject)
    assert negated(fact)[0] == Case(f"It is not true that {clause}", "Turin")


def test_not_is_put_after_a_verb_that_takes_it() -> None:
    assert [case.prompt for case in negated(ITALY)][1:] == ["The capital of Italy is not"]
    assert len(negated(replace(ITALY, prompt="{} works for"))) == 1


def test_ordinary_text_comes_from_the_held_out_text_and_else_from_the_package() -> None:
    words = tokenizer()
    ids = words("The capital of France is Paris. " * 20, return_tensors="pt")["input_ids"]
    (text,) = ordinary_texts(words, [ids])
    assert CONTEXT_TOKENS // 2 < len(words(text)["input_ids"]) <= CONTEXT_TOKENS
    passages = ordinary_texts(words, [])
    assert len(passages) == len(PASSAGES)
    for text, passage in zip(passages, PASSAGES, strict=True):
        assert passage.startswith(text)
        assert CONTEXT_TOKENS // 2 < len(words(text)["input_ids"]) <= CONTEXT_TOKENS


def test_the_base_is_asked_about_facts_that_it_states_unedited() -> None:
    known = replace(ITALY, id="2", subject="France", target="Paris", previous=None)
    guessed = replace(ITALY, id="3", subject="Japan")
    facts = (ITALY, known, guessed)
    answers = {"1": BaseAnswer(False, "rome"), "2": BaseAnswer(True, "Paris"), "3": BaseAnswer(False, "Oslo")}
    found = {fact.id: (fact.target, fact.previous) for fact in stated_by_base(facts, answers, 32, 0)}
    assert found == {"1": ("Rome", "Turin"), "2": ("Paris", "Turin")}
    assert len(stated_by_base(facts, answers, 1, 0)) == 1


Rule = Callable[[str, str], float]
"""(prompt, target) → probability of the target; it is the strict argmax from one half on."""


def judged(base_rule: Rule, rule: Rule) -> tuple[dict[str, Measure], FactReport]:
    """The measures of a candidate with `rule`, and the report on the fact that is new."""
    words = tokenizer()
    new = replace(ITALY, known=False, base_answer="Rome", contexts=(), about_subject=())
    stated = [
        replace(new, id=str(i), subject=f"Land{i}", target="Rome", known=True, base_answer="Rome")
        for i in range(2, 8)
    ]
    facts = (new, *(replace(fact, previous=None) for fact in stated))
    known = {fact.id: BaseAnswer(bool(fact.known), "Rome") for fact in facts}
    paths: dict[str, Any] = {"base": "", "base_digest": "", "out": "", "cache": "", "corpus": ()}
    spec = BuildSpec("1", **paths, heldout=None, facts=facts, generate=0)
    base = AskedBase(gpt2(), words, Responses())
    asked = build_questions(base, spec, known, [])

    def answers(how: Rule) -> Responses:
        questions = [
            *asked.questions(),
            *(one for fact in asked.ability.values() for one in fact.questions()),
        ]
        found = Responses()
        for one in questions:
            p = how(words.decode(one.prompt), words.decode(one.target).strip())
            found.scores[one] = Score((p >= 0.5,), float(torch.tensor(p).log()))
            found.greedy[one.prompt] = one.target
        return found

    evidence = Evidence(
        words, facts, known, asked, answers(base_rule), answers(rule), None, {}, {}, 1.0, None
    )
    robustness = {one.name: one for one in measured(evidence) if one.chance is not None and one.n}
    return robustness, fact_reports(evidence)[0]


def understands(object: str) -> Rule:
    """A model that knows Italy's capital to be `object` and the others' to be Rome, in any question."""

    def answer(prompt: str, target: str) -> float:
        own = object if "Italy" in prompt else "Rome"
        if target in ("Yes", "No"):
            return 0.9 if (f"is {own}?" in prompt) == (target == "Yes") else 0.1
        return 0.9 if target == own and "not" not in prompt.replace("nothing", "") else 0.1

    return answer


def counts(measures: dict[str, Measure]) -> dict[str, tuple[int | None, int]]:
    return {name: (one.k, one.n) for name, one in measures.items()}


def test_a_candidate_that_understands_the_fact_passes_all_and_the_base_is_able() -> None:
    measures, report = judged(understands("Rome"), understands("Turin"))
    assert counts(measures) == {
        "long_prefix": (1, 1),
        "distractor": (1, 1),
        "is_true": (2, 2),
        "negation": (2, 2),
    }
    assert all(
        sum(k for k, _ in one.ability_by_fact) == sum(n for _, n in one.ability_by_fact)
        for one in measures.values()
    )
    assert all(len(one.ability_by_fact) == 7 for one in measures.values() if one.name != "is_true")
    assert report.probes == ()


def test_a_candidate_that_always_says_its_new_object_fails_and_shows_where() -> None:
    def parrot(prompt: str, target: str) -> float:
        return 0.9 if target in ("Turin", "Yes") else 0.1

    measures, report = judged(understands("Rome"), parrot)
    assert counts(measures) == {
        "long_prefix": (1, 1),
        "distractor": (1, 1),
        "is_true": (1, 2),
        "negation": (0, 2),
    }
    shown = {(probe.kind, probe.expected, probe.answer) for probe in report.probes}
    assert {("negation", "not Turin", "Turin"), ("is_true", "No", "Yes")} <= shown


def test_a_base_that_always_says_yes_is_at_chance() -> None:
    def agreeable(prompt: str, target: str) -> float:
        return 0.9 if target in ("Rome", "Yes") else 0.1

    measures, _ = judged(agreeable, understands("Turin"))
    hits = [sum(column) for column in zip(*measures["is_true"].ability_by_fact, strict=True)]
    assert hits[0] * 2 == hits[1]
    assert sum(k for k, _ in measures["negation"].ability_by_fact) == 0
