"""What a view has is proven to be in it, what it has not to be absent, and never the other way round."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from state import merkle
from state.records import Fact
from state.view_set import Leaf, ViewSet, is_absent, leaf, place
from tests.support.facts import fact as some_fact
from tests.support.properties import drawing, editions


def fact_named(subject: str, relation: str, object: str) -> Fact:
    key = hashlib.sha256(f"{subject} {relation} {object}".encode()).hexdigest()
    return replace(some_fact(1), subject=subject, relation=relation, object=object, key=key)


NAMES = st.sampled_from([f"wd:Q{number}" for number in range(12)])
TRIPLES = st.sets(st.tuples(NAMES, NAMES, NAMES), max_size=20)


@editions(quick=60)
def test_presence_and_absence_are_proven_and_exclude_each_other(examples: int) -> None:
    @drawing(examples)
    @given(TRIPLES, NAMES, NAMES, NAMES, st.integers(1, 3))
    def holds(triples: set[tuple[str, str, str]], s: str, r: str, o: str, parts: int) -> None:
        facts = [fact_named(*triple) for triple in triples]
        found = ViewSet(facts)
        root, asked = found.root(), (s, r, o)[:parts]
        neighbours = found.absent(place(*asked))
        there = any(triple[:parts] == asked for triple in triples)
        assert (neighbours is None) == there
        if neighbours is not None:
            assert is_absent(place(*asked), root, found.size, neighbours)
            assert not neighbours or not is_absent(place(*asked), root, found.size, neighbours[1:])
            assert not is_absent(place(*asked), bytes(32), found.size, neighbours)
        for fact in facts:
            present = found.present(fact)
            assert present is not None
            hashed = merkle.leaf_hash(leaf(fact))
            assert merkle.root_of_inclusion(present.index, found.size, hashed, present.proof) == root
            for ends in (found.present(fact), *(found.present(other) for other in facts)):
                assert ends is not None
                assert not is_absent(place(fact.subject), root, found.size, [ends, present])

    holds()


def test_a_leaf_at_an_end_proves_nothing_of_what_lies_beyond_another() -> None:
    facts = sorted((fact_named(f"wd:Q{number}", "r", "o") for number in range(5)), key=leaf)
    found = ViewSet(facts)
    first, last = found.present(facts[0]), found.present(facts[-1])
    assert first is not None
    assert last is not None
    below, above = bytes(32), b"\xff" * 32
    assert is_absent(below, found.root(), 5, [first])
    assert is_absent(above, found.root(), 5, [last])
    for wrong in ([last], [first, last], [replace(first, index=1)], [Leaf(0, first.data, ())]):
        assert not is_absent(below, found.root(), 5, wrong)


def test_the_empty_view_has_nothing() -> None:
    empty = ViewSet([])
    assert empty.absent(place("wd:Q1")) == ()
    assert is_absent(place("wd:Q1"), empty.root(), 0, ())
    assert empty.present(fact_named("a", "b", "c")) is None
