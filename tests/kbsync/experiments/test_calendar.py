"""A knowledge base over days: what is added, overwritten and retracted, and what holds at each day's end."""

from __future__ import annotations

from kbsync.experiments.calendar import calendar, reverted
from kbsync.experiments.cases import counterfactual_cases
from tests.support.experiment_facts import known


def test_a_calendar_adds_all_facts_and_overwrites_and_retracts_some() -> None:
    cases = counterfactual_cases(known(), seed=0, most=16)
    days = calendar(cases, seed=1, days=20)
    first = {case.record.request.id for day in days for case in day.added}
    assert first == {case.record.request.id for case in cases}
    assert sum(len(day.added) for day in days) > len(cases)
    assert any(day.retracted for day in days)
    last = days[-1]
    held = {case.record.request.id for case in last.wanted}
    gone = {case.record.request.id for case in last.gone}
    assert held | gone == first
    assert not held & gone
    for day in days:
        for case in day.added:
            assert case.record.request.target != case.record.previous


def test_a_retraction_is_an_edit_back_to_what_the_base_states() -> None:
    (case,) = counterfactual_cases(known(), seed=0, most=1)
    back = reverted(case).record
    assert back.request.target == case.record.previous
    assert back.previous == case.record.request.target
