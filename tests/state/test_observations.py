"""Recording what sources say: at-least-once, out of order, and never twice or backwards."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from state import State
from state.records import GONE, Slot, StoredEntity
from state.revision_spans import REPEATS
from tests.support.ledgers import START, said

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
    assert [one.revision for one in history] == [1, 2, 3]


def test_a_late_revision_parts_what_was_taken_for_one_value(state: State) -> None:
    """1:A, 2:B, 3:A, 4:A arriving as 1, 3, 2, 4: the return at 3 is known, with its date, and stays so."""
    a, b = '["a"]', '["b"]'
    told = [
        said(revision=n, statements=text, observed=START + timedelta(hours=n))
        for n, text in ((1, a), (3, a), (2, b), (4, a))
    ]
    with state.write() as tx:
        assert [tx.record([one])[0] for one in told] == ["new", "duplicate", "late", "duplicate"]
        assert tx.newest_revisions("wikidata", [SLOT]) == {SLOT: 4}
        head = tx.head()
        assert tx.record([told[1], told[3], told[0]]) == ["duplicate"] * 3
        assert tx.head() == head
        history, (current,) = tx.histories([SLOT])[SLOT], tx.current([SLOT])[SLOT]
    assert [(one.revision, one.statements) for one in history] == [(1, a), (2, b), (3, a)]
    assert history[2] == current
    assert current.modified == START + timedelta(hours=3)


def test_a_value_was_there_before_the_revision_that_reported_it_first(state: State) -> None:
    with state.write() as tx:
        tx.record([said(revision=1, statements='["b"]')])
        assert tx.record([said(revision=5), said(revision=3), said(revision=2)]) == ["new", "late", "late"]
        assert [one.revision for one in tx.histories([SLOT])[SLOT]] == [1, 2]
        assert tx.newest_revisions("wikidata", [SLOT]) == {SLOT: 5}


def test_a_revision_that_says_two_things_keeps_what_it_said_first(state: State) -> None:
    """A source that breaks its word: both are history, the first stays current, whether or not it is repeated."""
    first, second = said(revision=3, statements='["a"]'), said(revision=3, statements='["b"]')
    with state.write() as tx:
        assert tx.record([first, second]) == ["new", "late"]
        assert tx.record([second, first]) == ["duplicate", "duplicate"]
        assert [one.statements for one in tx.histories([SLOT])[SLOT]] == ['["b"]', '["a"]']
        assert tx.current([SLOT])[SLOT][0].statements == '["a"]'


revisions = st.lists(st.sampled_from("ab"), min_size=1, max_size=REPEATS)
"""What revisions 1, 2, 3 … of a slot said."""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said_by=st.dictionaries(st.sampled_from(["one", "two"]), revisions, min_size=1), data=st.data())
def test_the_history_depends_on_which_revisions_came_not_on_how_often_or_in_what_order(
    state: State, said_by: dict[str, list[str]], data: st.DataObject
) -> None:
    told = [
        said(f"wd:{uuid4()}", json.dumps([text]), revision, source, observed=START + timedelta(revision))
        for source, texts in said_by.items()
        for revision, text in enumerate(texts, 1)
    ]
    told = [replace(one, subject=told[0].subject) for one in told]
    pair = (told[0].subject, told[0].relation)
    again = data.draw(st.lists(st.sampled_from(told), max_size=8))
    order = data.draw(st.permutations([*told, *again]))
    cuts = data.draw(st.lists(st.integers(0, len(order)), max_size=4))
    for first, last in pairwise(sorted({0, len(order), *cuts})):
        with state.write() as tx:
            tx.record(order[first:last])
    with state.write() as tx:
        found, head = tx.histories([pair])[pair], tx.head()
        assert [replace(one, id=None) for one in found] == [
            one
            for source in sorted(said_by)
            for mine in [[one for one in told if one.source == source]]
            for at, one in enumerate(mine)
            if at == 0 or one.statements != mine[at - 1].statements
        ]
        newest = {source: [one for one in found if one.source == source][-1] for source in said_by}
        assert tx.current([pair])[pair] == tuple(newest[source] for source in sorted(newest))
        assert set(tx.record(told)) == {"duplicate"}
        assert (tx.histories([pair])[pair], tx.head()) == (found, head)


def test_of_many_repeats_the_newest_are_remembered_and_rows_stay_small(state: State) -> None:
    with state.write() as tx:
        tx.record([said(revision=n) for n in range(1, 1000) if n != 500])
        (stored,) = tx.connection.execute(text("SELECT length(repeats) FROM observations")).scalars()
        assert stored < 50 * REPEATS
        late = said(revision=500, statements='["b"]')
        assert tx.record([late, late, said(revision=1000)]) == ["late", "duplicate", "duplicate"]
        assert [one.revision for one in tx.histories([SLOT])[SLOT]] == [1, 500, 1000 - REPEATS]


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
    pages = list(state.watched("wikidata"))
    assert [len(page) for page in pages] == [1000, 1000, 500]
    assert [pair for page in pages for pair in page] == [(one.subject, one.relation) for one in batch]
    assert sum(map(len, state.watched("wikidata", "wdt:P1"))) == 1250
    assert list(state.watched("other")) == [[("wd:Q0", "wdt:P6")]]
    assert list(state.watched("nobody")) == []
    with state.read() as tx:
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
        tx.put_entities([StoredEntity("wd:Q1", "Ada", ("A. L.",), True)])
        tx.put_entities([StoredEntity("wd:Q1", None)])
        assert tx.entities(["wd:Q1", "wd:Q2"]) == {"wd:Q1": StoredEntity("wd:Q1", "Ada", ("A. L.",), True)}
        assert tx.events(kind="entity.*") == []
        tx.put_entities([StoredEntity("wd:Q1", "Ada Lovelace", (), False)])
        assert tx.entities(["wd:Q1"])["wd:Q1"] == StoredEntity("wd:Q1", "Ada Lovelace", (), False)
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


def test_a_subject_that_comes_back_under_its_old_revision_is_current_again(state: State) -> None:
    held = '["a"]'
    with state.write() as tx:
        assert tx.record([said(revision=100, statements=held)]) == ["new"]
        assert tx.record([said(revision=GONE, statements="[]")]) == ["new"]
        assert tx.record([said(revision=GONE, statements="[]")]) == ["duplicate"]
        assert tx.record([said(revision=99, statements='["old"]')]) == ["late"]
    with state.write() as tx:
        assert tx.record([said(revision=100, statements=held)]) == ["new"]
        assert tx.record([said(revision=100, statements=held)]) == ["duplicate"]
        (current,) = tx.current([SLOT])[SLOT]
        assert current.statements == held
    with state.write() as tx:
        assert tx.record([said(revision=101, statements='["b"]')]) == ["new"], "the very next edit"
        (current,) = tx.current([SLOT])[SLOT]
        assert current.statements == '["b"]'
        history = [one.statements for one in tx.histories([SLOT])[SLOT]]
    assert history == ['["old"]', held, "[]", held, '["b"]']


def test_a_subject_may_be_gone_before_anything_was_read_of_it(state: State) -> None:
    with state.write() as tx:
        assert tx.record([said(revision=GONE, statements="[]")]) == ["new"]
        assert tx.record([said(revision=7, statements='["a"]')]) == ["new"]
        assert tx.newest_revisions("wikidata", [SLOT]) == {SLOT: 7}
