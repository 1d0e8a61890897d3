"""The planner decides the same from the wanted facts that it reads as it would from all of them."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbsync.runs import planning
from kbsync.settings.sections import PlanSettings
from state import State
from state.records import BaseAnswer
from tests.support.ledgers import BASE, START, Clock, carried, fact, planned


def filled(state: State, chance: random.Random) -> None:
    """A live view, of which some facts were withdrawn or replaced since, and others that wait."""
    wanted = range(chance.randrange(3, 30))
    with state.write() as tx:
        tx.put_facts(
            [
                replace(
                    fact(f"wd:Q{number}"),
                    priority=chance.randrange(-1, 2),
                    since=START + timedelta(days=chance.randrange(5)),
                )
                for number in wanted
            ],
            "test",
        )
        ids = [one.id for one in tx.wanted()]
        asked = {id: BaseAnswer(chance.random() < 0.2, "x") for id in ids if chance.random() < 0.9}
        tx.put_base_answers(BASE, asked)
    if chance.random() < 0.8:
        with state.write() as tx:
            live = [tx.fact(id) for id in ids if chance.random() < 0.4]
            run = carried(tx, planned(tx, live), "staged")
            assert run.checkpoint is not None
            tx.promote(run.checkpoint, tx.acquire_lease("leader", "test", timedelta(minutes=1)))
            for one in live:
                if chance.random() < 0.4:
                    tx.move_fact(one.id, "superseded", "newer", "test")
                    if chance.random() < 0.5:
                        newer = replace(fact(one.subject, "wd:Newer"), priority=chance.randrange(-1, 2))
                        tx.put_facts([newer], "test")


def check(new_url, kind: str, seed: int, capacity: int) -> None:
    state = State.open(new_url(kind), Clock())
    filled(state, random.Random(seed))
    with state.read() as tx:
        live = tx.live()
        live_facts = tx.view_facts(live.view) if live else None
        every, part = tx.wanted(), tx.wanted_to_plan(BASE, live, capacity)
        ids = [one.id for one in (*every, *(live_facts or ()))]
        known = {id: found.known for id, found in tx.base_answers(BASE, ids).items()}
    state.close()
    settings = PlanSettings(capacity=capacity)
    plans = [
        planning.decide(wanted, live_facts, known, settings, START, asked=True)
        for wanted in (every, part.facts)
    ]
    assert len(every) == len(part.facts) + part.behind
    left_out = {one.id for one in every} - {one.id for one in part.facts}
    for name in ("facts", "new", "removed", "known", "reason"):
        assert getattr(plans[0], name, None) == getattr(plans[1], name, None), name
    assert [one for one in plans[0].waiting if one.id not in left_out] == list(plans[1].waiting)
    assert len(plans[0].waiting) == len(plans[1].waiting) + part.behind
    gone = [planning.withdrawal(wanted, live_facts, known) for wanted in (every, part.facts)]
    assert gone[0] == gone[1]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**9), capacity=st.integers(1, 9))
def test_what_waits_far_behind_changes_no_plan(new_url, seed: int, capacity: int) -> None:
    check(new_url, "sqlite", seed, capacity)


@pytest.mark.thorough
@settings(max_examples=2_000, deadline=None)
@given(seed=st.integers(0, 10**9), capacity=st.integers(1, 9))
def test_what_waits_far_behind_changes_no_plan_in_thousands_of_ledgers(
    new_url, seed: int, capacity: int
) -> None:
    check(new_url, "sqlite", seed, capacity)


@pytest.mark.postgres
@pytest.mark.parametrize("seed", range(12))
def test_what_waits_far_behind_changes_no_plan_on_postgresql(new_url, seed: int) -> None:
    check(new_url, "postgres", seed, 1 + seed % 4)
