"""Planning: when a run is worth starting, and what its view holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from kbsync.runs.planning import NothingToDo, Plan, decide
from kbsync.settings.sections import PlanSettings
from state.records import Fact
from tests.support.facts import NOW, fact

SETTINGS = PlanSettings(min_pending=3, max_wait=timedelta(hours=24), capacity=100)


def planned(result: Plan | NothingToDo) -> Plan:
    assert isinstance(result, Plan)
    return result


def test_the_first_view_is_built_even_if_the_base_knows_all_of_it() -> None:
    plan = planned(decide([fact(1)], None, {1: True}, SETTINGS, NOW, asked=False))
    assert plan.facts == (fact(1),)
    assert plan.new == ()


def test_nothing_wanted_and_nothing_live_is_nothing_to_do() -> None:
    nothing = decide([], None, {}, SETTINGS, NOW, asked=True)
    assert isinstance(nothing, NothingToDo)
    assert "no fact is wanted yet" in nothing.reason


def test_live_that_holds_everything_is_nothing_to_do() -> None:
    assert isinstance(decide([fact(1)], [fact(1)], {1: False}, SETTINGS, NOW, asked=True), NothingToDo)


def test_few_young_changes_wait_unless_somebody_asks() -> None:
    live: list[Fact] = []
    assert isinstance(decide([fact(1)], live, {}, SETTINGS, NOW, asked=False), NothingToDo)
    assert planned(decide([fact(1)], live, {}, SETTINGS, NOW, asked=True)).new == (fact(1),)


def test_enough_changes_start_a_run() -> None:
    plan = planned(decide([fact(n) for n in range(3)], [], {}, SETTINGS, NOW, asked=False))
    assert len(plan.new) == 3


def test_a_change_that_has_waited_long_enough_starts_a_run() -> None:
    old = fact(1, age=timedelta(hours=25))
    assert planned(decide([old], [], {}, SETTINGS, NOW, asked=False)).new == (old,)


def test_leaving_an_edited_fact_out_is_a_change() -> None:
    plan = planned(decide([], [fact(1)], {1: False}, SETTINGS, NOW, asked=True))
    assert plan.removed == (fact(1),)
    assert plan.facts == ()


def test_known_facts_take_no_capacity_and_start_no_run() -> None:
    tight = replace_capacity(1)
    result = decide(
        [fact(1), fact(2), fact(3)], [fact(1)], {1: False, 2: True, 3: True}, tight, NOW, asked=True
    )
    assert isinstance(result, NothingToDo)


def test_beyond_the_capacity_the_least_important_wait() -> None:
    facts = [fact(1), fact(2, priority=5), fact(3, age=timedelta(days=1))]
    plan = planned(decide(facts, [], {}, replace_capacity(2), NOW, asked=True))
    assert {f.id for f in plan.new} == {2, 3}
    assert [f.id for f in plan.waiting] == [1]


def test_the_view_is_sorted_by_key() -> None:
    plan = planned(decide([fact(3), fact(1), fact(2)], [], {}, SETTINGS, NOW, asked=True))
    assert [f.key for f in plan.facts] == sorted(f.key for f in plan.facts)


def replace_capacity(capacity: int) -> PlanSettings:
    return SETTINGS.model_copy(update={"capacity": capacity})


def test_what_is_live_is_not_swapped_for_what_waits() -> None:
    """Whatever becomes of its row: a new end date rewrites it, and it is wanted as long as before."""
    live, waiting = fact(1, age=timedelta(days=9)), fact(2, age=timedelta(days=5))
    changed = replace(live, updated=NOW, held_until=NOW + timedelta(days=20_000))
    plan = decide([waiting, changed], [live], {}, replace_capacity(1), NOW, asked=True)
    assert isinstance(plan, NothingToDo)
    assert plan.waiting == (waiting,)


def test_beyond_the_capacity_what_has_been_wanted_for_longest_comes_first() -> None:
    older, newer = fact(2, age=timedelta(days=5)), fact(1, age=timedelta(days=4))
    older = replace(older, updated=NOW)
    plan = planned(decide([newer, older], [], {}, replace_capacity(1), NOW, asked=True))
    assert (plan.new, plan.waiting) == ((older,), (newer,))


def test_a_higher_priority_goes_before_what_is_live() -> None:
    live, important = fact(1), fact(2, priority=1)
    plan = planned(decide([live, important], [live], {}, replace_capacity(1), NOW, asked=True))
    assert (plan.new, plan.removed) == ((important,), (live,))


def test_what_became_wanted_under_a_clock_that_was_ahead_has_waited_long_enough() -> None:
    ahead = fact(1, age=timedelta(days=-3650))
    assert planned(decide([ahead], [], {}, SETTINGS, NOW, asked=False)).new == (ahead,)


def test_another_base_is_a_change_that_starts_a_run() -> None:
    assert planned(decide([fact(1)], [fact(1)], {}, SETTINGS, NOW, asked=False, rebuilt=True)).new == ()
