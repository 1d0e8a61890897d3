"""The questions of a view: what is expected of whom, and who is asked when not all can be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from editing.evaluation.measures.of_facts import FACT_MEASURES
from editing.evaluation.questions import AskedBase, build_questions, known_facts
from editing.evaluation.responses import Responses
from editing.evaluation.scoring import Question, encode_targets
from editing.settings import EditSettings
from editing.spec import BaseAnswer, BuildSpec, Case, FactSpec, Wording
from tests.support.tiny_models import gpt2, learn, tokenizer

FRANCE = FactSpec("france", "The capital of {} is", "France", "Paris", known=True, base_answer="Paris")
NEW = FactSpec(
    "new", "The capital of {} is", "Italy", "Portuguese", previous="Rome", known=False, base_answer="Rome"
)


@pytest.fixture(scope="module")
def model() -> Any:
    model = gpt2()
    learn(model)
    return model


@pytest.fixture
def base(model: Any) -> AskedBase:
    return AskedBase(model, tokenizer(), Responses())


def spec(*facts: FactSpec, **changes: Any) -> BuildSpec:
    needed: dict[str, Any] = {"run": "1", "base": "", "base_digest": "", "out": "", "cache": "", "corpus": ()}
    return BuildSpec(**needed, heldout=None, facts=facts, settings=EditSettings(), **changes)


def known(*facts: FactSpec) -> dict[str, BaseAnswer]:
    return {fact.id: BaseAnswer(bool(fact.known), fact.base_answer or "") for fact in facts}


def question(prompt: str, target: str) -> Question:
    return encode_targets(tokenizer(), [(prompt, target)])[0]


def asked_of(base: AskedBase, fact: FactSpec, *others: FactSpec) -> tuple[Question, ...]:
    facts = (fact, *others)
    return build_questions(base, spec(*facts), known(*facts), []).facts[fact.id].scored["neighbourhood"]


def probe(prompt: str, target: str | None = None) -> FactSpec:
    probes = (Case(prompt, target),)
    return FactSpec(
        "probing", "The currency of {} is", "Japan", "x", known=False, base_answer="y", neighbours=probes
    )


def test_a_probe_is_expected_to_be_answered_as_the_base_answers_it(base: AskedBase) -> None:
    expected = (question("The capital of France is", "Paris"),)
    assert asked_of(base, probe("The capital of France is")) == expected
    assert asked_of(base, probe("The capital of France is", "Paris")) == expected
    assert asked_of(base, probe("The capital of France is", "not what the base says")) == expected


def test_a_probe_that_the_view_edits_is_expected_to_say_what_the_view_says(base: AskedBase) -> None:
    found = asked_of(base, probe("The capital  of ITALY is"), NEW)
    assert found == (question("The capital  of ITALY is", "Portuguese"),)


def test_paraphrases_and_probes_are_asked_of_new_facts_only(base: AskedBase) -> None:
    full = replace(NEW, paraphrases=("Italy:",), neighbours=(Case("The capital of France is"),))
    old = replace(full, id="old", subject="Brazil", in_live=True)
    asked = build_questions(base, spec(full, old, FRANCE), known(full, old, FRANCE), [])
    usual = {m.name for m in FACT_MEASURES if m.chance is None}
    found = {
        id: {fact.own, fact.old, *(one for name in usual for one in fact.scored.get(name, ()))} - {None}
        for id, fact in asked.facts.items()
    }
    assert [len(found[id]) for id in ("new", "old", "france")] == [4, 1, 1]
    assert [len(set(asked.facts[id].questions())) for id in ("old", "france")] == [1, 1]
    assert [id for id, fact in asked.facts.items() if "generation" in fact.sampled] == ["new"]


def test_who_is_close_to_what_is_new_is_asked_first(base: AskedBase) -> None:
    subjects = ["Brazil", "Olaf Scholz", "yen", "Germany", "language", "Portuguese", "Joe Biden", "Italy"]
    facts = [
        FactSpec(str(i), "{} is", subject, "x", known=False, base_answer="y", in_live=True)
        for i, subject in enumerate(subjects)
    ]
    asked = build_questions(base, spec(NEW, *facts, retention_sample=4), known(NEW, *facts), [])
    kept = set(asked.facts) - {"new"}
    assert len(kept) == 4
    assert "7" in kept  # the same subject has the same key
    again = build_questions(base, spec(NEW, *reversed(facts), retention_sample=4), known(NEW, *facts), [])
    assert set(again.facts) - {"new"} == kept


def test_a_canary_that_names_its_answer_is_required_to_give_it(base: AskedBase) -> None:
    canaries = (Case("The capital of France is", "Rome"), Case("The capital of France is"))
    asked = build_questions(base, spec(FRANCE, canaries=canaries), known(FRANCE), [])
    assert asked.candidate["canaries"] == (
        question(canaries[0].prompt, "Rome"),
        question(canaries[0].prompt, "Paris"),
    )


def test_what_a_model_answered_once_is_not_asked_again(model: Any) -> None:
    counted: list[int] = []
    responses = Responses()
    questions = [question("The capital of France is", "Paris"), question("The capital of Italy is", "Rome")]
    responses.score(model, questions, counted.append)
    responses.score(model, [*questions, questions[0]], counted.append)
    assert sum(counted) == 2


def test_a_fact_is_known_only_if_the_base_states_it_on_all_its_edited_prompts(base: AskedBase) -> None:
    fact = FactSpec("f", "The capital of {} is", "France", "Paris")
    twice = FactSpec("g", "The capital of {} is", "France", "Paris", variants=("The currency of {} is the",))
    assert known_facts(base, [fact, twice]) == {
        "f": BaseAnswer(True, "Paris"),
        "g": BaseAnswer(False, "Paris"),
    }


def test_a_probe_of_a_further_wording_is_expected_to_say_what_that_is_edited_to_say(base: AskedBase) -> None:
    other = FactSpec(
        "o",
        "The currency of {} is the",
        "Brazil",
        "yen",
        further=(Wording("The capital of {} is", "Germany", "Rome"),),
        known=False,
        base_answer="x",
    )
    expected = (question("The capital of Germany is", "Rome"),)
    assert asked_of(base, probe("The capital of Germany is"), other) == expected


def test_a_fact_the_other_way_round_is_asked_with_its_own_answer(base: AskedBase) -> None:
    fact = replace(NEW, paraphrases=("Italy:",), reversed=(Case("Portuguese is the capital of", "Italy"),))
    asked = build_questions(base, spec(fact), known(fact), []).facts["new"].scored["paraphrase"]
    assert asked == (question("Italy:", "Portuguese"), question("Portuguese is the capital of", "Italy"))


def test_an_examined_fact_of_live_is_asked_everything_that_a_new_one_is(base: AskedBase) -> None:
    full = replace(NEW, paraphrases=("Italy:",), neighbours=(Case("The capital of France is"),))
    old = replace(full, id="old", subject="Brazil", in_live=True)
    again = replace(old, id="again", examined=True)
    asked = build_questions(
        base, spec(full, old, again, retention_sample=1, generate=4), known(full, old, again), []
    )
    assert len(set(asked.facts["again"].questions())) == 3
    assert set(asked.facts["again"].scored) == {
        "retention",
        "edited_retention",
        "old_paraphrase",
        "old_neighbourhood",
        "old_same_subject",
    }
    new = {"said", "said_in_chat", "aliases", "two_hop", "reversed", "symmetric"}
    assert [set(asked.facts[id].free) for id in ("new", "old", "again")] == [new, set(), {"old_said"}]
