"""Facts: one row a fact for ever, moved by compare-and-set, one wanted object a slot."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from sqlalchemy import insert

from state import State
from state.errors import Inconsistent, NotFound, SlotTaken, StaleTransition
from state.fact_queries import FACTS
from state.records import Move, Probe
from tests.support.ledgers import START, fact


def test_a_fact_is_written_once_and_comes_back_as_the_same_row(state: State) -> None:
    with state.write() as tx:
        (first,) = tx.put_facts([fact(status="held", held_until=START + timedelta(days=1))], "admission")
        (again,) = tx.put_facts([fact(status="wanted", revision=2)], "admission")
        (same,) = tx.put_facts([fact(status="wanted", revision=3)], "admission")
    assert (first.id, first.status) == (again.id, "held")
    assert (again.status, again.revision, again.held_until) == ("wanted", 2, None)
    assert same == again, "a row that already is what is asked for stays as it is"
    with state.read() as tx:
        kinds = [event.kind for event in tx.events(fact=first.id)]
    assert kinds == ["fact.held", "fact.wanted"]


def test_the_rows_come_back_in_the_order_of_the_call(state: State) -> None:
    offered = [fact(f"wd:Q{number}") for number in (5, 3, 9)]
    with state.write() as tx:
        tx.put_facts(offered[1:2], "admission")
        assert [one.subject for one in tx.put_facts(offered, "admission")] == ["wd:Q5", "wd:Q3", "wd:Q9"]


def test_a_slot_never_wants_two_objects(state: State) -> None:
    with state.write() as tx:
        tx.put_facts([fact(object="wd:Q1")], "admission")
    with pytest.raises(SlotTaken, match=r"wd:Q38.*already wants wd:Q1"), state.write() as tx:
        tx.put_facts([fact(object="wd:Q2")], "admission")
    with pytest.raises(SlotTaken), state.write() as tx:
        tx.put_facts([fact("wd:Q7", "wd:Q1"), fact("wd:Q7", "wd:Q2")], "admission")
    with state.read() as tx:
        assert [one.object for one in tx.wanted()] == ["wd:Q1"]


def test_the_database_itself_refuses_a_second_wanted_object(state: State) -> None:
    with state.write() as tx:
        (first,) = tx.put_facts([fact()], "admission")
        slot = tx.connection.execute(FACTS.select()).one()
    with pytest.raises(Inconsistent, match="audit verify --tables"), state.write() as tx:
        tx.connection.execute(insert(FACTS), [{**slot._mapping, "id": first.id + 1, "key": "other"}])


def test_a_successor_takes_the_slot_after_the_older_fact_has_left_it(state: State) -> None:
    with state.write() as tx:
        (old,) = tx.put_facts([fact(object="wd:Q1")], "admission")
        tx.move_fact(old.id, "superseded", "a newer value", "admission", expect="wanted")
        (new,) = tx.put_facts([fact(object="wd:Q2", revision=2)], "admission")
        body = json.loads(tx.events(fact=new.id)[0].body)
    assert (body["object"], body["old_object"], body["source"], body["revision"]) == (
        "wd:Q2",
        "wd:Q1",
        "wikidata",
        2,
    )


def test_a_swap_is_one_call_whatever_the_order_of_its_moves(state: State) -> None:
    with state.write() as tx:
        old, new = tx.put_facts([fact(object="wd:Q1"), fact(object="wd:Q2", status="held")], "admission")
        tx.move_facts(
            [Move(new.id, "wanted", "settled"), Move(old.id, "superseded", "replaced")], "admission"
        )
    with state.read() as tx:
        assert [(one.id, one.status) for one in tx.facts()] == [(old.id, "superseded"), (new.id, "wanted")]


def test_a_move_that_expects_another_status_changes_nothing(state: State) -> None:
    with state.write() as tx:
        one, two = tx.put_facts([fact("wd:Q1"), fact("wd:Q2")], "admission")
        tx.move_fact(two.id, "quarantined", "gate efficacy", "judge")
        head = tx.head()
    moves = [Move(one.id, "quarantined", "x"), Move(two.id, "retracted", "x", expect="wanted")]
    with (
        pytest.raises(StaleTransition, match=r"expected to be 'wanted' but is 'quarantined'"),
        state.write() as tx,
    ):
        tx.move_facts(moves, "judge")
    with pytest.raises(NotFound, match="no fact 99"), state.write() as tx:
        tx.move_fact(99, "retracted", "x", "judge")
    with state.read() as tx:
        assert tx.fact(one.id).status == "wanted"
        assert tx.head() == head


def test_a_held_fact_cannot_be_moved_into_a_slot_that_is_taken(state: State) -> None:
    with state.write() as tx:
        _, waits = tx.put_facts([fact(object="wd:Q1"), fact(object="wd:Q2", status="held")], "admission")
    with pytest.raises(SlotTaken), state.write() as tx:
        tx.move_fact(waits.id, "wanted", "settled", "admission")


def test_evidence_is_kept_in_the_event_even_when_it_is_not_a_number(state: State) -> None:
    with state.write() as tx:
        (one,) = tx.put_facts([fact()], "admission")
        tx.move_fact(one.id, "quarantined", "gate", "judge", evidence={"efficacy": float("nan"), "n": 3})
        body = json.loads(tx.events(fact=one.id)[-1].body)
    assert body["evidence"] == {"efficacy": "NaN", "n": 3}


def test_due_facts_come_longest_overdue_first(state: State) -> None:
    hours = {"wd:Q1": 5, "wd:Q2": 1, "wd:Q3": 9}
    with state.write() as tx:
        tx.put_facts(
            [
                fact(subject, status="held", held_until=START + timedelta(hours=by))
                for subject, by in hours.items()
            ],
            "admission",
        )
    with state.read() as tx:
        assert [one.subject for one in tx.due(START + timedelta(hours=5))] == ["wd:Q2", "wd:Q1"]


def test_a_reviewers_word_is_kept_and_moves_nothing(state: State) -> None:
    with state.write() as tx:
        (one,) = tx.put_facts([fact(status="quarantined")], "admission")
        decided = tx.decide(one.id, "approved", "checked by hand", "ada")
        event = tx.events(fact=one.id)[-1]
    assert (decided.decision, decided.status) == ("approved", "quarantined")
    assert (event.kind, event.actor, json.loads(event.body)["reason"]) == (
        "fact.approved",
        "ada",
        "checked by hand",
    )


def test_facts_are_found_by_every_condition(state: State) -> None:
    with state.write() as tx:
        tx.put_facts(
            [fact("wd:Q1"), fact("wd:Q2", status="held"), fact("wd:Q2", relation="wdt:P35"), fact("wd:Q3")],
            "a",
        )
    with state.read() as tx:
        assert tx.count_facts() == {"wanted": 3, "held": 1}
        assert [one.id for one in tx.facts(subject="wd:Q2")] == [2, 3]
        assert [one.id for one in tx.facts(status="wanted", relation="wdt:P6")] == [1, 4]
        assert [one.id for one in tx.facts(ids=[4, 1, 99])] == [1, 4]
        assert [one.id for one in tx.facts(limit=2, offset=1)] == [2, 3]
        assert [one.id for one in tx.facts_of([("wd:Q2", "wdt:P35")])[("wd:Q2", "wdt:P35")]] == [3]
        assert [one.id for one in tx.find_by_prompt(fact("wd:Q2").prompt_key)] == [2, 3]
        keys = [one.key for one in tx.wanted()]
    assert keys == sorted(keys)


def test_the_key_follows_slot_object_and_prompt_and_nothing_else() -> None:
    one = fact()
    assert one.key == fact(status="held", reason="x", revision=9).key
    assert len({one.key, fact(object="wd:Q2").key, fact("wd:Q2").key, fact(relation="wdt:P35").key}) == 4


def test_probes_are_replaced_as_a_whole_and_keep_their_order(state: State) -> None:
    probes = (
        Probe("neighbour", "The capital of Spain is", "Madrid"),
        Probe("same_subject", "Italy uses the", "euro"),
    )
    with state.write() as tx:
        (one,) = tx.put_facts([fact()], "admission")
        tx.put_probes(one.id, probes[:1])
        tx.put_probes(one.id, probes)
    with state.read() as tx:
        assert tx.probes(one.id) == probes
