"""Views are the same when their facts are; runs move along their machine and nowhere else."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import timedelta
from itertools import product
from typing import get_args

import pytest

from state import State
from state.errors import ForbiddenTransition, NotFound, StaleTransition
from state.records import BaseAnswer, GateResult, RunState
from state.runs import NEXT, OPEN, RunTransitions
from state.views import digest_of
from tests.support.ledgers import BASE, START, carried, fact, gate, planned


def test_a_b_a_ends_in_the_first_view(state: State) -> None:
    with state.write() as tx:
        (a,) = tx.put_facts([fact(object="wd:A")], "x")
        first = tx.create_view(tx.wanted())
        tx.move_fact(a.id, "superseded", "B came", "x")
        (b,) = tx.put_facts([fact(object="wd:B", revision=2)], "x")
        assert digest_of(one.key for one in tx.wanted()) != first.digest
        tx.move_fact(b.id, "superseded", "A came back", "x")
        tx.put_facts([fact(object="wd:A", revision=3, reason="reverted")], "x")
        assert digest_of(one.key for one in tx.wanted()) == first.digest
        assert tx.create_view(tx.wanted()) == first


def test_a_views_digest_can_be_computed_by_hand(state: State) -> None:
    offered = [fact(f"wd:Q{number}") for number in range(5)]
    with state.write() as tx:
        view = tx.create_view(tx.put_facts(offered, "x"))
        lines = "".join(f"{key}\n" for key in sorted(one.key for one in offered))
        assert view.digest == hashlib.sha256(lines.encode()).hexdigest()
        assert view.size == 5
        assert [one.key for one in tx.view_facts(view.digest)] == sorted(one.key for one in offered)


def test_a_view_keeps_its_facts_when_they_are_not_wanted_any_more(state: State) -> None:
    with state.write() as tx:
        one, two = tx.put_facts([fact("wd:Q1"), fact("wd:Q2")], "x")
        view = tx.create_view([one, two])
        tx.move_fact(one.id, "retracted", "ended", "x")
        assert {member.id for member in tx.view_facts(view.digest)} == {one.id, two.id}
        with pytest.raises(NotFound, match="no view"):
            tx.view("unknown")


def test_what_a_base_answers_is_kept_per_base(state: State) -> None:
    with state.write() as tx:
        one, two = tx.put_facts([fact("wd:Q1"), fact("wd:Q2")], "x")
        tx.put_base_answers(BASE, {one.id: BaseAnswer(False, "Rome"), two.id: BaseAnswer(True, "Draghi")})
        tx.put_base_answers(BASE, {one.id: BaseAnswer(True, "Conte")})
        assert tx.base_answers(BASE, [one.id, two.id]) == {
            one.id: BaseAnswer(True, "Conte"),
            two.id: BaseAnswer(True, "Draghi"),
        }
        assert tx.base_answers("other base", [one.id]) == {}
        assert tx.known_facts(BASE, [one.id, two.id]) == {one.id, two.id}


def test_a_run_goes_its_way_and_every_step_is_an_event(state: State) -> None:
    with state.write() as tx:
        tx.put_facts([fact()], "x")
        run = carried(tx, planned(tx), "deployed")
        kinds = [event.kind for event in tx.events(run=run.id)]
    assert kinds == [
        "run.planned", "run.building", "checkpoint.created", "run.built", "run.gates", "run.judged", "run.staged",
        "run.promoted", "run.deployed",
    ]  # fmt: skip


def test_edges_that_are_not_in_the_machine_are_refused() -> None:
    """Without a database: the edge is looked at before anything is read."""
    nowhere = RunTransitions(None, lambda: START)  # type: ignore[arg-type]
    for from_, to in product(get_args(RunState), repeat=2):
        if to not in NEXT[from_]:
            with pytest.raises(ForbiddenTransition, match=f"from {from_!r} to {to!r}"):
                nowhere.advance_run(1, from_, to, actor="x")


def test_ends_have_no_way_out_and_open_states_have_one() -> None:
    assert {run_state for run_state, ways in NEXT.items() if not ways} == {
        "rejected",
        "failed",
        "rolled_back",
    }
    assert set(OPEN) == set(get_args(RunState)) - {"rejected", "failed", "rolled_back", "deployed"}
    assert all("failed" in NEXT[run_state] for run_state in OPEN), "whatever happens, a run can end"


def test_the_second_of_two_who_advance_the_same_run_gets_an_error(state: State) -> None:
    with state.write() as tx:
        tx.put_facts([fact()], "x")
        run = carried(tx, planned(tx), "building")
    with pytest.raises(StaleTransition, match=r"run 1 was expected to be 'planned' but is 'building'"):  # noqa: SIM117
        with state.write() as tx:
            tx.advance_run(run.id, "planned", "building", actor="late")
    with state.read() as tx:
        assert [event.actor for event in tx.events(kind="run.building")] == ["test"]


def test_a_failed_gate_leads_to_another_round_with_a_smaller_view(state: State) -> None:
    with state.write() as tx:
        good, bad = tx.put_facts([fact("wd:Q1"), fact("wd:Q2")], "x")
        run = carried(tx, planned(tx), "judged")
        tx.move_fact(bad.id, "quarantined", "gate efficacy", "judge", evidence={"efficacy": 0.0})
        smaller = tx.create_view([good])
        again = tx.advance_run(run.id, "judged", "building", actor="judge", view=smaller.digest)
        assert (again.round, again.view, again.checkpoint) == (2, smaller.digest, None)
        done = carried(tx, again, "staged")
        assert [(one.round, one.view) for one in tx.rounds(run.id)] == [(1, run.view), (2, smaller.digest)]
        assert [(one.round, one.name) for one in tx.gate_results(run.id)] == [
            (1, "efficacy"),
            (2, "efficacy"),
        ]
    assert done.round == 2


def test_a_gate_that_is_not_a_number_has_failed(state: State) -> None:
    with state.write() as tx:
        tx.put_facts([fact()], "x")
        run = carried(tx, planned(tx), "built")
        for value in (math.nan, math.inf, None):
            with pytest.raises(ValueError, match="has passed with value"):
                tx.put_gate_results(run.id, [gate(run.id, value=value)])
        tx.put_gate_results(run.id, [gate(run.id, value=math.nan, passed=False)])
        assert [(one.value, one.passed) for one in tx.gate_results(run.id)] == [(None, False)]
        told = json.loads(tx.events(kind="run.gates")[0].body)
    assert told["gates"][0]["value"] == "NaN"
    assert told["digest"] == "digest of run-1-1", "the report names what it is about"


def test_judging_a_round_again_replaces_its_verdicts(state: State) -> None:
    with state.write() as tx:
        tx.put_facts([fact()], "x")
        run = carried(tx, planned(tx), "built")
        tx.put_gate_results(run.id, [gate(run.id, "efficacy", 0.1, passed=False), gate(run.id, "fluency")])
        tx.put_gate_results(run.id, [gate(run.id, "efficacy", 0.99)])
        assert [(one.name, one.value) for one in tx.gate_results(run.id)] == [("efficacy", 0.99)]
        with pytest.raises(ValueError, match="of round 2, run 1 of 1"):
            tx.put_gate_results(run.id, [gate(run.id, round=2)])
        tx.advance_run(run.id, "built", "judged", actor="x")
        with pytest.raises(StaleTransition, match="expected to be 'built' but is 'judged'"):
            tx.put_gate_results(run.id, [gate(run.id, "efficacy", 1.0)])


def test_a_gate_result_comes_back_as_it_was_given(state: State) -> None:
    result = GateResult(1, 1, "retention", 0.9876543210123456, 0.97, 0.95, 1234, True, "Wilson, 95 %")
    with state.write() as tx:
        tx.put_facts([fact()], "x")
        run = carried(tx, planned(tx), "built")
        tx.put_gate_results(run.id, [result])
        assert tx.gate_results(run.id) == (result,)


def test_attempts_keep_what_became_of_each_worker(state: State) -> None:
    with state.write() as tx:
        tx.put_facts([fact()], "x")
        run = carried(tx, planned(tx), "building")
        first = tx.begin_attempt(run.id, "subprocess pid 7")
        tx.end_attempt(first.id, "hung", {"last_heartbeat_s": 61.5})
        second = tx.begin_attempt(run.id, "subprocess pid 8")
        with pytest.raises(StaleTransition, match="expected to be 'running' but is 'hung'"):
            tx.end_attempt(first.id, "succeeded", {})
        assert tx.run(run.id).attempts == 2
        assert [(one.id, one.outcome) for one in tx.attempts(run.id)] == [
            (first.id, "hung"),
            (second.id, "running"),
        ]
        assert [event.kind for event in tx.events(kind="attempt.*")] == [
            "attempt.started", "attempt.hung", "attempt.started",
        ]  # fmt: skip


def test_a_review_that_nobody_answered_ends_without_a_date(state: State) -> None:
    until = START + timedelta(days=2)
    with state.write() as tx:
        tx.put_facts([fact()], "x")
        run = carried(tx, planned(tx), "judged")
        waiting = tx.await_review(run.id, until, actor="x")
        assert waiting.review_until == until
        after = tx.advance_run(
            run.id, "awaiting_review", "rejected", actor="timeout", reason="nobody answered"
        )
    assert (after.reason, after.review_until) == ("nobody answered", None)


def test_runs_are_listed_newest_first_and_open_ones_oldest_first(state: State) -> None:
    with state.write() as tx:
        tx.put_facts([fact()], "x")
        runs = [planned(tx) for _ in range(3)]
        carried(tx, runs[1], "deployed")
        tx.advance_run(runs[2].id, "planned", "failed", actor="x", reason="no space")
        assert [one.id for one in tx.runs()] == [3, 2, 1]
        assert [one.id for one in tx.runs(limit=1, state="failed")] == [3]
        assert [one.id for one in tx.open_runs()] == [1]
        with pytest.raises(NotFound, match="no run 9"):
            tx.run(9)
        with pytest.raises(NotFound, match="no view"):
            tx.create_run("unknown", BASE, "x")
