"""Recording what sources say: at-least-once, out of order, and never twice or backwards."""

from __future__ import annotations

import pytest

from state import State
from state.records import Entity, Slot
from tests.state.making import said

SLOT = ("wd:Q38", "wdt:P6")


def test_an_observation_is_new_once_and_a_duplicate_ever_after(state: State) -> None:
    with state.write() as tx:
        assert tx.record([said()]) == ["new"]
        head = tx.head()
        assert tx.record([said(), said()]) == ["duplicate", "duplicate"]
        assert tx.head() == head, "nothing happened, so nothing is logged"
        assert len(tx.histories([SLOT])[SLOT]) == 1


def test_a_newer_revision_that_says_the_same_keeps_the_first_ones_date(state: State) -> None:
    with state.write() as tx:
        assert tx.record([said(revision=5), said(revision=9)]) == ["new", "duplicate"]
        (current,) = tx.current([SLOT])[SLOT]
        assert current.revision == 5
        assert tx.record([said(revision=8, statements="[]")]) == ["late"], "9 was read, so 8 is late"


def test_a_late_revision_joins_the_history_once_but_never_becomes_current(state: State) -> None:
    with state.write() as tx:
        tx.record([said(revision=1, statements='["a"]'), said(revision=3, statements='["c"]')])
        late = said(revision=2, statements='["b"]')
        assert tx.record([late]) == ["late"]
        assert tx.record([late]) == ["duplicate"]
        (current,) = tx.current([SLOT])[SLOT]
        history = tx.histories([SLOT])[SLOT]
    assert current.statements == '["c"]'
    assert [(one.revision, one.late) for one in history] == [(1, False), (3, False), (2, True)]


def test_a_revert_is_a_newer_revision_with_the_old_value(state: State) -> None:
    with state.write() as tx:
        flips = [
            said(revision=number, statements=value) for number, value in ((1, "[1]"), (2, "[2]"), (3, "[1]"))
        ]
        assert tx.record(flips) == ["new", "new", "new"]
        (current,) = tx.current([SLOT])[SLOT]
    assert (current.revision, current.statements) == (3, "[1]")


def test_a_batch_in_steps_ends_like_the_batch_at_once(state: State) -> None:
    batch = [said(f"wd:Q{n % 3}", f"[{n % 4}]", revision=n % 5, source=f"s{n % 2}") for n in range(80)]
    pairs = {(one.subject, one.relation) for one in batch}
    with state.write() as tx:
        whole = tx.record(batch)
        histories = tx.histories(pairs)
    with state.write() as tx:
        assert set(tx.record(batch)) == {"duplicate"}
        assert tx.histories(pairs) == histories
    assert {"new", "duplicate", "late"} == set(whole)


def test_sources_stand_beside_each_other(state: State) -> None:
    with state.write() as tx:
        tx.record([said(source="b", revision=9), said(source="a", revision=1, statements="[2]")])
        assert [(one.source, one.revision) for one in tx.current([SLOT])[SLOT]] == [("a", 1), ("b", 9)]
        assert tx.newest_revisions("a", [SLOT]) == {SLOT: 1}


def test_every_watched_slot_is_visited_once_page_by_page(state: State) -> None:
    batch = [said(f"wd:Q{n}", relation=f"wdt:P{n % 2}") for n in range(2500)]
    with state.write() as tx:
        tx.record(batch)
        tx.record([said("wd:Q0", source="other")])
    with state.read() as tx:
        assert list(tx.watched("wikidata")) == [(one.subject, one.relation) for one in batch]
        assert len(list(tx.watched("wikidata", "wdt:P1"))) == 1250
        assert list(tx.watched("other")) == [("wd:Q0", "wdt:P6")]
        picked = tx.random_slots("wikidata", 50, seed=1)
        assert len(set(picked)) == 50
        assert picked == tx.random_slots("wikidata", 50, seed=1) != tx.random_slots("wikidata", 50, seed=2)
        assert tx.random_slots("nobody", 5, seed=1) == []
        assert tx.random_slots("other", 5, seed=1) == [("wd:Q0", "wdt:P6")]


class SourceBroke(Exception):
    """Stands for whatever may interrupt a step."""


def test_the_cursor_moves_with_what_it_covers_or_not_at_all(state: State) -> None:
    def step(revision: int, *, breaks: bool = False) -> None:
        with state.write() as tx:
            tx.record([said(revision=revision, statements=f"[{revision}]")])
            tx.set_cursor("wikidata", str(revision))
            if breaks:
                raise SourceBroke

    step(1)
    with pytest.raises(SourceBroke):
        step(2, breaks=True)
    with state.read() as tx:
        assert tx.cursor("wikidata") == "1"
        assert tx.cursor("unknown") is None
        assert tx.current([SLOT])[SLOT][0].revision == 1


def test_what_is_unknown_of_an_entity_erases_nothing(state: State) -> None:
    with state.write() as tx:
        tx.put_entities([Entity("wd:Q1", "Ada", ("A. L.",), True)])
        tx.put_entities([Entity("wd:Q1", None)])
        assert tx.entities(["wd:Q1", "wd:Q2"]) == {"wd:Q1": Entity("wd:Q1", "Ada", ("A. L.",), True)}
        assert tx.events(kind="entity.*") == []
        tx.put_entities([Entity("wd:Q1", "Ada Lovelace", (), False)])
        assert tx.entities(["wd:Q1"])["wd:Q1"] == Entity("wd:Q1", "Ada Lovelace", (), False)
        assert [event.kind for event in tx.events(kind="entity.*")] == ["entity.relabelled"]


def test_two_slots_with_one_prompt_are_found_together(state: State) -> None:
    slots = [Slot(f"wd:Q{n}", "wdt:P6", "Georgia", "The head of {} is", "same") for n in (1, 2)]
    with state.write() as tx:
        tx.record([said("wd:Q9")])
        tx.put_slots([*slots, Slot("wd:Q3", "wdt:P6", "Italy", "The head of {} is", "other")])
        assert [one.subject for one in tx.slots_with_prompt_keys(["same", "none"])["same"]] == [
            "wd:Q1",
            "wd:Q2",
        ]
        assert ("wd:Q9", "wdt:P6") not in tx.slots([("wd:Q9", "wdt:P6")]), "observed, but not rendered yet"


def test_a_slot_that_renders_differently_is_an_event_and_one_that_does_not_is_none(state: State) -> None:
    slot = Slot("wd:Q1", "wdt:P6", "Georgia", "The head of {} is", "key")
    with state.write() as tx:
        tx.put_slots([slot])
        tx.put_slots([slot])
        assert tx.events() == []
        tx.put_slots([Slot("wd:Q1", "wdt:P6", "Georgia (country)", "The head of {} is", "key2")])
        assert [event.kind for event in tx.events()] == ["slot.rerendered"]
        assert tx.slots([("wd:Q1", "wdt:P6")])["wd:Q1", "wdt:P6"].subject_label == "Georgia (country)"


def test_quotes_and_other_scripts_in_names_come_back_unchanged(state: State) -> None:
    pair = ('crm:"x"\\y', "wdt:P6'; --")
    with state.write() as tx:
        tx.record([said(pair[0], '["Ünïcode 東京 𝔘"]', relation=pair[1])])
        assert tx.current([pair])[pair][0].statements == '["Ünïcode 東京 𝔘"]'
