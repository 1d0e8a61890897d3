"""What follows from a view is true wherever the view is, and never contradicts what a source or a person says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from editing.consequence import Consequence
from editing.folding import fold
from editing.requests import prompt_key
from kbsync.catalogue.relations import load_catalogue
from kbsync.runs.consequences import (
    Derivation,
    LedgerClaims,
    Premise,
    chosen,
    consistent,
    derivations,
)
from state.records import Fact
from tests.support.facts import fact as numbered
from tests.support.properties import drawing, editions

CATALOGUE = load_catalogue()
HEAD, CAPITAL, SPOUSE, EMPLOYER = "wdt:P35", "wdt:P36", "wdt:P26", "wdt:P108"
NOTHING = LedgerClaims()


def stated(id: int | None, subject: str, relation: str, object: str) -> Premise:
    return Premise(f"x:{subject}", relation, f"x:{object}", subject, object, id)


def follows(
    *statements: Premise, about: Iterable[int] = (1,), claims: LedgerClaims = NOTHING, **more: object
) -> list[Consequence]:
    found = list(derivations(statements, set(about), CATALOGUE))
    return [one.consequence for one in consistent(found, statements, more.get("edited", ()), claims)]  # type: ignore[arg-type]


def said(*statements: Premise, **more: object) -> dict[str, str]:
    return {one.rendered: one.target for one in follows(*statements, **more)}  # type: ignore[arg-type]


STEINMEIER = stated(1, "Germany", HEAD, "Frank-Walter Steinmeier")
BERLIN = stated(2, "Germany", CAPITAL, "Berlin")
ELKE = stated(3, "Frank-Walter Steinmeier", SPOUSE, "Elke Büdenbender")


def test_two_facts_of_one_subject_make_a_question_that_describes_it() -> None:
    assert said(STEINMEIER, BERLIN) == {
        "Frank-Walter Steinmeier is the head of state of": "Germany",
        "The capital of the country whose head of state is Frank-Walter Steinmeier is": "Berlin",
        "The head of state of the country whose capital is Berlin is": "Frank-Walter Steinmeier",
    }


def test_a_fact_about_the_object_makes_a_chain() -> None:
    found = follows(STEINMEIER, ELKE)
    (chain,) = (one for one in found if one.kind == "two_hop")
    assert chain == Consequence(
        "two_hop", "The spouse of the head of state of {} is", "Germany", "Elke Büdenbender", ("1", "3")
    )


def test_a_symmetric_fact_holds_about_its_object() -> None:
    (found,) = follows(ELKE, about=[3])
    assert found == Consequence(
        "symmetric", "The spouse of {} is", "Elke Büdenbender", "Frank-Walter Steinmeier", ("3",)
    )


def test_what_the_base_states_takes_part_and_is_no_parent() -> None:
    known = replace(BERLIN, fact=None)
    found = follows(STEINMEIER, known)
    assert {one.parents for one in found} == {("1",)}
    assert len(found) == 3
    assert follows(STEINMEIER, known, about=[2]) == []


def test_a_question_that_contains_its_answer_is_not_asked() -> None:
    city = replace(stated(2, "Singapore", CAPITAL, "Singapore"), object="x:city")
    found = said(stated(1, "Singapore", HEAD, "Halimah Yacob"), city, about=[1, 2])
    assert set(found) == {
        "Halimah Yacob is the head of state of",
        "The capital of the country whose head of state is Halimah Yacob is",
    }


def test_an_object_of_two_subjects_describes_neither() -> None:
    charles = [stated(n, name, HEAD, "Charles III") for n, name in ((1, "Canada"), (2, "Jamaica"))]
    ottawa = stated(3, "Canada", CAPITAL, "Ottawa")
    assert list(said(*charles, ottawa, about=[1, 2, 3])) == [
        "The head of state of the country whose capital is Ottawa is",
        "Ottawa is the capital of",
    ]
    held = LedgerClaims(holders={"x:Charles III": frozenset({("x:Canada", HEAD), ("x:Tuvalu", HEAD)})})
    assert "Charles III is the head of state of" in said(charles[0], ottawa)
    assert "Charles III is the head of state of" not in said(charles[0], ottawa, claims=held)


def test_two_subjects_of_one_name_make_one_question_and_it_is_not_asked() -> None:
    namesakes = [
        replace(stated(1, "Springfield", HEAD, "Ann"), subject="x:1"),
        replace(stated(2, "Springfield", HEAD, "Bob"), subject="x:2"),
        stated(3, "Ann", SPOUSE, "Cy"),
        stated(4, "Bob", SPOUSE, "Dee"),
    ]
    found = said(*namesakes, about=[1, 2, 3, 4])
    assert "The spouse of the head of state of Springfield is" not in found
    assert "The spouse of the head of state of Springfield is" not in said(*namesakes, about=[1])
    assert found["Ann is the head of state of"] == "Springfield"


def slot(status: str, object: str = "x:Frank-Walter Steinmeier") -> LedgerClaims:
    fact: Fact = replace(numbered(9), status=status, object=object)
    return LedgerClaims(slots={("x:Elke Büdenbender", SPOUSE): (fact,)})


def test_a_statement_in_the_slot_wins_and_so_does_its_withdrawal() -> None:
    for status in ("wanted", "held", "quarantined"):
        for object in ("x:Frank-Walter Steinmeier", "x:Somebody Else"):
            assert follows(ELKE, about=[3], claims=slot(status, object)) == [], status
    assert follows(ELKE, about=[3], claims=slot("retracted")) == []
    assert len(follows(ELKE, about=[3], claims=slot("retracted", "x:Somebody Else"))) == 1
    assert len(follows(ELKE, about=[3], claims=slot("superseded", "x:Somebody Else"))) == 1


def test_a_prompt_of_the_view_or_of_another_slot_is_not_derived() -> None:
    key = prompt_key("the spouse of  ELKE Büdenbender is")
    own, other = ("x:Elke Büdenbender", SPOUSE), ("x:another Elke", SPOUSE)
    assert follows(ELKE, about=[3], edited={key}) == []
    assert len(follows(ELKE, about=[3], claims=LedgerClaims(watched={key: frozenset({own})}))) == 1
    assert follows(ELKE, about=[3], claims=LedgerClaims(watched={key: frozenset({own, other})})) == []


def test_nothing_is_derived_about_whom_nothing_may_be_learnt() -> None:
    for id in ("x:Elke Büdenbender", "x:Frank-Walter Steinmeier"):
        assert follows(ELKE, about=[3], claims=LedgerClaims(denied=frozenset({id}))) == []


def test_where_the_inverse_is_edited_another_wording_of_it_is_asked() -> None:
    both_ways = {"edit_inverse": True, "inverse": ["{} is the capital of", "{} is the seat of government of"]}
    mine = load_catalogue({CAPITAL: both_ways})
    (found,) = derivations([BERLIN], {2}, mine)
    assert found.consequence.rendered == "Berlin is the seat of government of"
    only = load_catalogue({CAPITAL: {"edit_inverse": True}})
    assert list(derivations([BERLIN], {2}, only)) == []


def test_of_each_kind_a_few_are_chosen_for_a_fact_and_always_the_same() -> None:
    facts = [stated(n, "Ann", relation, f"o{n}") for n, relation in enumerate(CATALOGUE, 1)]
    boss = stated(100, "Acme", "wdt:P169", "Ann")
    found = list(derivations([boss, *facts], {100}, CATALOGUE))
    some = chosen(found, 3)
    assert len(found) > 10
    assert [one.consequence.kind for one in some].count("two_hop") == 3
    assert {one.consequence for one in chosen(found[::-1], 3)} == {one.consequence for one in some}


def test_questions_about_every_pair_of_relations_are_sentences() -> None:
    for first in CATALOGUE.values():
        for second in CATALOGUE.values():
            ends = [stated(1, "Mara", first.id, "Zeno"), stated(2, "Zeno", second.id, "Quux")]
            beside = [stated(3, "Vega", first.id, "Juno"), stated(4, "Vega", second.id, "Quux")]
            for one in follows(*ends, *beside, about=[1, 3]):
                if one.kind == "two_hop":
                    assert re.fullmatch(r"The [\w ]+ \w+ is", one.rendered), one
                    assert "  " not in one.rendered


NAMES = ("Ann", "Bob", "Cy", "ann")
ENTITIES = st.integers(0, 5)
TRIPLES = st.tuples(ENTITIES, st.sampled_from([HEAD, CAPITAL, SPOUSE, EMPLOYER]), ENTITIES)


@st.composite
def worlds(draw: st.DrawFn) -> list[Premise]:
    """Facts with one object a slot, whose entities may share their names."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=6, max_size=6))
    slots = {(s, r): o for s, r, o in draw(st.lists(TRIPLES, max_size=10))}
    return [
        Premise(f"x:{s}", r, f"x:{o}", names[s], names[o], id) for id, ((s, r), o) in enumerate(slots.items())
    ]


def true_answers(one: Consequence, world: Sequence[Premise]) -> set[str]:
    """Every answer that the world has to the question, found by reading the question itself."""

    def objects(relation: str, subjects: set[str]) -> set[str]:
        return {o.object for o in world if o.relation == relation and o.subject in subjects}

    labels = {o.subject: o.subject_label for o in world} | {o.object: o.target for o in world}
    named = {id for id, label in labels.items() if fold(label) == fold(one.subject)}
    if one.kind == "reversed":
        (relation,) = (r.id for r in CATALOGUE.values() if one.prompt in r.inverse)
        found = {o.subject for o in world if o.relation == relation and o.object in named}
    elif one.kind == "symmetric":
        found = {o.subject for o in world if o.relation == SPOUSE and o.object in named}
    else:
        found = set()
        for inner in CATALOGUE.values():
            for outer in CATALOGUE.values():
                for phrase in filter(None, (inner.object_phrase, inner.subject_phrase)):
                    text = outer.object_phrase.replace("{}", phrase) + " is"
                    if text.lower() == one.prompt.lower() and outer.object_phrase:
                        turned = phrase == inner.subject_phrase
                        between = (
                            {o.subject for o in world if o.relation == inner.id and o.object in named}
                            if turned
                            else objects(inner.id, named)
                        )
                        found |= objects(outer.id, between)
    return {fold(labels[id]) for id in found}


@editions(quick=60)
def test_every_consequence_is_the_only_answer_of_the_world(examples: int) -> None:
    @drawing(examples)
    @given(world=worlds(), order=st.randoms(use_true_random=False), about=st.sets(st.integers(0, 9)))
    def holds(world: list[Premise], order: object, about: set[int]) -> None:
        ids = about & {one.fact for one in world if one.fact is not None}
        prompts = {prompt_key(CATALOGUE[o.relation].template.replace("{}", o.subject_label)) for o in world}
        found = consistent(list(derivations(world, ids, CATALOGUE)), world, prompts, NOTHING)
        for one in found:
            consequence = one.consequence
            assert true_answers(consequence, world) == {fold(consequence.target)}
            assert one.fact in ids
            assert str(one.fact) in consequence.parents
            assert prompt_key(consequence.rendered) not in prompts
        assert len(found) == len({one.consequence.rendered for one in found})
        shuffled = list(world)
        order.shuffle(shuffled)  # type: ignore[attr-defined]
        again = consistent(list(derivations(shuffled, ids, CATALOGUE)), world, prompts, NOTHING)
        assert _texts(again) == _texts(found)

    holds()


def _texts(found: Iterable[Derivation]) -> set[tuple[str, str]]:
    return {(one.consequence.rendered, one.consequence.target) for one in found}
