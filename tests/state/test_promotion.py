"""What goes live, who may make it so, who must hear of it, and what garbage collection must leave."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from state import State
from state.errors import (
    ForbiddenTransition,
    GatesNotPassed,
    LeaseHeld,
    NotFound,
    StaleLeader,
    StaleTransition,
    ViewBlocked,
)
from state.records import BaseAnswer, Lease
from tests.support.ledgers import BASE, Clock, carried, fact, gate, planned, said, staged
from tests.support.replay import check


@pytest.fixture
def lease(state: State) -> Lease:
    return state.acquire_lease("leader", "first", 60)


def test_promoting_retires_what_was_live_and_tells_the_hooks_in_one_transaction(
    state: State, lease: Lease
) -> None:
    with state.write() as tx:
        first, second = staged(tx, "wd:Q1"), staged(tx, "wd:Q2")
        tx.promote(first.id, lease, hooks=["symlink"])
        tx.promote(second.id, lease, hooks=["symlink", "vllm", "vllm"])
        assert tx.live() == tx.checkpoint(second.id)
        assert tx.checkpoint(first.id).status == "retired"
        assert tx.previous() == tx.checkpoint(first.id)
        assert [(one.promotion, one.hook, one.state) for one in tx.deployments()] == [
            (1, "symlink", "superseded"), (2, "symlink", "pending"), (2, "vllm", "pending"),
        ]  # fmt: skip
        told = json.loads(tx.events(kind="checkpoint.promoted")[-1].body)
    assert (told["previous"], told["generation"], told["digest"]) == (first.id, 1, second.digest)


def test_promoting_what_is_live_already_changes_nothing(state: State, lease: Lease) -> None:
    with state.write() as tx:
        one = staged(tx, "wd:Q1")
        live = tx.promote(one.id, lease, hooks=["symlink"])
        head = tx.head()
        assert tx.promote(one.id, lease, hooks=["symlink"]) == live
        assert tx.head() == head


@pytest.mark.parametrize("gates", [[], [("efficacy", False)], [("efficacy", True), ("fluency", False)]])
def test_a_candidate_without_a_complete_passed_report_never_goes_live(
    state: State, lease: Lease, gates
) -> None:
    with state.write() as tx:
        tx.put_facts([fact()], "x")
        run = carried(tx, planned(tx), "built")
        tx.put_gate_results(run.id, [gate(run.id, name, passed=passed) for name, passed in gates])
        with pytest.raises(GatesNotPassed):
            tx.promote(run.checkpoint, lease)
        assert tx.live() is None


def test_gates_of_an_earlier_round_prove_nothing(state: State, lease: Lease) -> None:
    with state.write() as tx:
        (one,) = tx.put_facts([fact()], "x")
        run = carried(tx, planned(tx), "judged")
        again = tx.advance_run(run.id, "judged", "building", actor="x", view=tx.create_view([one]).digest)
        with pytest.raises(GatesNotPassed, match="about checkpoint None in its round 2"):
            tx.promote(run.checkpoint, lease)
        made = tx.create_checkpoint(run.id, again.view, BASE, "second", "d")
        tx.advance_run(run.id, "building", "built", actor="x", checkpoint=made.id)
        with pytest.raises(GatesNotPassed, match="no gate results in its round 2"):
            tx.promote(made.id, lease)
        tx.put_gate_results(run.id, [gate(run.id, round=2)])
        with pytest.raises(GatesNotPassed, match=f"about checkpoint {made.id}"):
            tx.promote(run.checkpoint, lease)
        assert tx.promote(made.id, lease).status == "live"


def test_a_kept_checkpoint_is_judged_again_by_the_run_that_wants_it(state: State, lease: Lease) -> None:
    with state.write() as tx:
        first, second = staged(tx, "wd:Q1"), staged(tx, "wd:Q2")
        tx.promote(first.id, lease)
        tx.promote(second.id, lease)
        assert tx.kept(first.view, BASE) == tx.checkpoint(first.id)
        assert tx.kept(first.view, "another base") is None
        run = tx.create_run(first.view, BASE, "A came back")
        tx.advance_run(run.id, "planned", "built", actor="x", checkpoint=first.id)
        with pytest.raises(GatesNotPassed):
            tx.promote(first.id, lease, run=run.id)
        tx.put_gate_results(run.id, [gate(run.id)])
        assert tx.promote(first.id, lease, run=run.id).status == "live"
        assert tx.previous() == tx.checkpoint(second.id)


def test_a_rolled_back_view_stays_out_until_it_is_released(state: State, lease: Lease) -> None:
    with state.write() as tx:
        a, b, c = (staged(tx, f"wd:Q{number}") for number in range(3))
        for one in (a, b, c):
            tx.promote(one.id, lease)
        tx.promote(b.id, lease, reason="rollback: c says nonsense")
        tx.block_view(c.view, "says nonsense", "ada")
        tx.block_view(c.view, "again", "ada")
        assert tx.checkpoint(c.id).blocked
        assert tx.previous() == tx.checkpoint(a.id), "rolling back once more does not come back to c"
        with pytest.raises(ViewBlocked, match=r"says nonsense.*release it"):
            tx.promote(c.id, lease)
        assert [one.reason for one in tx.blocked_views()] == ["says nonsense"]
        assert tx.release_view(c.view, "fixed", "ada")
        assert not tx.release_view(c.view, "fixed", "ada")
        assert tx.promote(c.id, lease).status == "live"


def test_rolling_back_goes_to_another_view_and_never_blocks_what_is_live(state: State, lease: Lease) -> None:
    with state.write() as tx:
        older, first = staged(tx, "wd:Q1"), staged(tx, "wd:Q2")
        rebuilt = carried(tx, planned(tx), "staged")
        for id in (older.id, first.id, rebuilt.checkpoint):
            tx.promote(id, lease)
        assert rebuilt.view == first.view
        assert tx.previous() == tx.checkpoint(older.id)
        with pytest.raises(ForbiddenTransition, match="live"):
            tx.block_view(rebuilt.view, "says nonsense", "ada")


def test_rejected_and_collected_checkpoints_are_never_promoted(state: State, lease: Lease) -> None:
    with state.write() as tx:
        a, b = staged(tx, "wd:Q1"), staged(tx, "wd:Q2")
        tx.reject(a.id, "a reviewer said no", "ada")
        tx.collected(b.id)
        for one in (a, b):
            with pytest.raises(ForbiddenTransition):
                tx.promote(one.id, lease)
        assert tx.kept(b.view, BASE) is None
        with pytest.raises(NotFound, match="no checkpoint 9"):
            tx.promote(9, lease)


def test_live_can_be_neither_collected_nor_rejected(state: State, lease: Lease) -> None:
    with state.write() as tx:
        one = staged(tx, "wd:Q1")
        tx.promote(one.id, lease)
        with pytest.raises(ForbiddenTransition):
            tx.collected(one.id)
        with pytest.raises(ForbiddenTransition):
            tx.reject(one.id, "x", "x")


def test_the_same_candidate_offered_twice_is_one_row(state: State) -> None:
    with state.write() as tx:
        tx.put_facts([fact()], "x")
        run = carried(tx, planned(tx), "built")
        again = tx.create_checkpoint(run.id, run.view, BASE, "run-1-1", "digest of run-1-1")
        assert again.id == run.checkpoint
        assert tx.create_checkpoint(run.id, run.view, BASE, "run-1-1", "other bytes").id != run.checkpoint


def test_the_roots_are_live_previous_pinned_and_the_candidates_of_open_runs(
    state: State, lease: Lease
) -> None:
    with state.write() as tx:
        made = [staged(tx, f"wd:Q{number}") for number in range(5)]
        for one in made[:4]:
            tx.promote(one.id, lease)
            run = tx.advance_run(one.run, "staged", "promoted", actor="x")
            tx.advance_run(run.id, "promoted", "deployed", actor="x")
        tx.pin(made[0].id, "the audited one", "ada")
        roots = tx.roots()
    kept = {one.id for one in roots.checkpoints}
    assert kept == {made[0].id, made[2].id, made[3].id, made[4].id}
    assert (roots.live.id, roots.previous.id) == (made[3].id, made[2].id)
    assert (roots.runs, roots.bases) == ((made[4].run,), (BASE,))
    with state.write() as tx:
        assert not tx.unpin(made[0].id, "x", "ada").pinned
        assert made[0].id not in {one.id for one in tx.roots().checkpoints}


def test_a_deployment_is_done_at_least_once_and_believed_only_when_observed(
    state: State, lease: Lease
) -> None:
    with state.write() as tx:
        tx.promote(staged(tx, "wd:Q1").id, lease, hooks=["vllm"])
        (todo,) = tx.deployments(state="pending")
        tx.move_deployment(todo.id, "pending", "deploying", actor="daemon")
    with pytest.raises(StaleTransition), state.write() as tx:
        tx.move_deployment(todo.id, "pending", "deploying", actor="another daemon")
    with state.write() as tx:
        tx.move_deployment(todo.id, "deploying", "failed", actor="daemon", observed="old", detail="HTTP 500")
        tx.move_deployment(todo.id, "failed", "deploying", actor="daemon")
        done = tx.move_deployment(todo.id, "deploying", "deployed", actor="daemon", observed="new")
        assert (done.attempts, done.observed, done.state) == (2, "new", "deployed")
        with pytest.raises(ForbiddenTransition):
            tx.move_deployment(todo.id, "deployed", "pending", actor="daemon")


def test_a_server_that_forgot_is_notified_again_and_a_new_hook_hears_of_what_is_live(
    state: State, lease: Lease
) -> None:
    with state.write() as tx:
        assert tx.add_hooks(["vllm"], lease, "daemon") == (), "nothing is live yet"
        live = tx.promote(staged(tx, "wd:Q1").id, lease, hooks=["vllm"])
        (todo,) = tx.deployments()
        for from_, to in (("pending", "deploying"), ("deploying", "deployed"), ("deployed", "deploying")):
            tx.move_deployment(todo.id, from_, to, actor="daemon")  # type: ignore[arg-type]
        (new,) = tx.add_hooks(["vllm", "exec"], lease, "daemon")
        assert (new.hook, new.state, new.checkpoint, new.promotion) == (
            "exec",
            "pending",
            live.id,
            live.promotion,
        )
        assert tx.add_hooks(["vllm", "exec"], lease, "daemon") == ()
        assert tx.count_deployments() == {"deploying": 1, "pending": 1}
        assert tx.count_runs() == {"staged": 1}
    check(state)
    with pytest.raises(StaleLeader), state.write() as tx:
        tx.add_hooks(["a third"], replace(lease, generation=lease.generation - 1), "an ex-leader")


def test_an_ex_leader_that_was_paused_cannot_promote(state: State, clock: Clock, lease: Lease) -> None:
    with state.write() as tx:
        one = staged(tx, "wd:Q1")
    clock.forward(minutes=5)
    newer = state.acquire_lease("leader", "second", 60)
    with state.read() as tx:
        head = tx.head()
    with pytest.raises(StaleLeader, match="second leads with generation 2"), state.write() as tx:
        tx.promote(one.id, lease)
    with pytest.raises(StaleLeader):
        state.renew_lease(lease, 60)
    state.release_lease(lease)
    with state.read() as tx:
        assert tx.head() == head, "nothing was written"
        assert tx.lease("leader") == newer
    with state.write() as tx:
        assert tx.promote(one.id, newer).status == "live"


def test_a_lease_is_taken_when_it_is_free_or_over_and_only_then(
    state: State, clock: Clock, lease: Lease
) -> None:
    with pytest.raises(LeaseHeld, match=r"held by first until 2024.*stop that daemon"):
        state.acquire_lease("leader", "second", 60)
    assert state.acquire_lease("other", "second", 60).generation == 1
    clock.forward(seconds=30)
    renewed = state.renew_lease(lease, 60)
    clock.forward(seconds=45)
    with pytest.raises(LeaseHeld):
        state.acquire_lease("leader", "second", 60)
    state.release_lease(renewed)
    assert state.acquire_lease("leader", "second", 60).generation == 2


def test_the_next_incarnation_of_a_holder_fences_the_last_one(state: State, lease: Lease) -> None:
    again = state.acquire_lease("leader", "first", 60)
    assert again.generation == lease.generation + 1
    with pytest.raises(StaleLeader), state.write() as tx:
        tx.check_lease(lease)


def test_a_clock_that_jumps_back_changes_neither_order_nor_leadership(
    state: State, clock: Clock, lease: Lease
) -> None:
    with state.write() as tx:
        a, b, c = (staged(tx, f"wd:Q{number}") for number in range(3))
        tx.promote(a.id, lease)
        tx.promote(b.id, lease)
    clock.forward(days=-3)
    with pytest.raises(LeaseHeld):
        state.acquire_lease("leader", "second", 60)
    with state.write() as tx:
        tx.promote(c.id, lease)
        assert tx.checkpoint(c.id).promoted < tx.checkpoint(b.id).promoted
        assert tx.previous() == tx.checkpoint(b.id), "by number of promotion, not by time"
    assert state.audit.verify().ok


def test_a_pause_holds_until_somebody_resumes(state: State) -> None:
    with state.write() as tx:
        assert tx.paused() is None
        first = tx.pause("an audit", "ada")
        assert tx.pause("another reason", "bob") == first == tx.paused()
        assert tx.resume("ada")
        assert not tx.resume("ada")
        assert [event.kind for event in tx.events()] == ["daemon.paused", "daemon.resumed"]


def test_provenance_goes_from_the_fact_to_revision_run_and_gate_values(state: State, lease: Lease) -> None:
    with state.write() as tx:
        tx.record([said("wd:Q1", revision=7), said("wd:Q1", source="other")])
        (one,) = tx.put_facts([fact("wd:Q1", revision=7)], "admission")
        run = carried(tx, planned(tx), "staged")
        tx.put_base_answers(BASE, {one.id: BaseAnswer(False, "Rome")})
        tx.promote(run.checkpoint, lease, run=run.id)
        found = tx.find_by_prompt(one.prompt_key)
        told = tx.provenance(found[0].id)
    assert told.fact.id == one.id
    assert [(item.source, item.revision) for item in told.observations] == [("wikidata", 7)]
    (built,) = told.builds
    assert (built.run.id, built.checkpoint.status, built.known, built.base_answer) == (
        run.id,
        "live",
        False,
        "Rome",
    )
    assert [(result.name, result.value) for result in built.gates] == [("efficacy", 1.0)]
    assert [event.kind for event in told.events] == ["fact.wanted"]
    assert told.fact.statement == "wd:Q1-statement"
