"""Random histories of runs, with an accident between any two steps: the ledger never contradicts itself.

Hypothesis drives planners, judges, operators, deploy hooks and leaders that come and go. A step may
break off before its commit (everything it did must vanish) and the process may be gone after it
(everything it did must stay). After every step the log is replayed against the tables.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from state import State, Transaction
from state.errors import StaleLeader, StaleTransition, StateError, ViewBlocked
from state.records import Lease, Run, RunState
from state.runs import NEXT, OPEN
from tests.support.ledgers import BASE, WAY, Clock, fact, gate
from tests.support.replay import check

SUBJECTS = st.sampled_from(["wd:Q1", "wd:Q2", "wd:Q3"])
OBJECTS = st.sampled_from(["wd:A", "wd:B"])
STRAIGHT: dict[RunState, RunState] = {
    **dict(pairwise(WAY)),
    "awaiting_review": "staged",
}
CHANCE = st.randoms(use_true_random=False)


class Killed(BaseException):
    """The process ended inside a transaction."""


class Runs(RuleBasedStateMachine):
    new_url: object = None
    """Makes a fresh ledger; set by the test."""

    @initialize()
    def start(self) -> None:
        self.clock = Clock()
        self.url = self.new_url()  # type: ignore[operator]
        self.state = State.open(self.url, self.clock)
        with self.state.write() as tx:
            tx.put_facts([fact("wd:Q0")], "admission")
        self.leases: list[Lease] = [self.state.acquire_lease("leader", "first", timedelta(days=999))]

    def teardown(self) -> None:
        self.state.close()

    def step(self, work: object, killed: bool) -> None:
        """One transaction; `killed` ends the process just before its commit."""
        try:
            with self.state.write() as tx:
                work(tx)  # type: ignore[operator]
                if killed:
                    raise Killed
        except Killed:
            self.restart()
        except (StateError, ValueError):
            pass  # refused: nothing may have changed, which the invariant checks

    @rule()
    def restart(self) -> None:
        self.state.close()
        self.state = State.open(self.url, self.clock)

    @rule(subject=SUBJECTS, object=OBJECTS, killed=st.booleans())
    def the_source_changes(self, subject: str, object: str, killed: bool) -> None:
        def work(tx: Transaction) -> None:
            for old in tx.facts(status="wanted", subject=subject):
                tx.move_fact(old.id, "superseded", "a newer value", "admission", expect="wanted")
            tx.put_facts([fact(subject, object)], "admission")

        self.step(work, killed)

    @rule(chance=CHANCE, steps=st.integers(1, 8), passed=st.booleans(), killed=st.booleans())
    def a_run_moves_on(self, chance, steps: int, passed: bool, killed: bool) -> None:
        """An open run (a new one where there is none) takes some steps, mostly straight on."""
        for number in range(steps):

            def work(tx: Transaction) -> None:
                runs = tx.open_runs() or (tx.create_run(tx.create_view(tx.wanted()).digest, BASE, "test"),)
                run = chance.choice(runs)
                straight = chance.random() < 0.8
                self.move(
                    tx, run, STRAIGHT[run.state] if straight else chance.choice(NEXT[run.state]), passed
                )

            self.step(work, killed and number == steps - 1)

    @rule(killed=st.booleans())
    def an_operator_rolls_back(self, killed: bool) -> None:
        def work(tx: Transaction) -> None:
            for run in tx.runs(state="deployed", limit=1):
                self.move(tx, run, "rolled_back")

        self.step(work, killed)

    def move(self, tx: Transaction, run: Run, to: RunState, passed: bool = True) -> Run:
        """One edge with what belongs to it, as the daemon would write it in one transaction."""
        checkpoint = run.checkpoint
        if to == "built":
            path = f"{run.id}-{run.round}"
            checkpoint = tx.create_checkpoint(run.id, run.view, run.base, path, f"digest of {path}").id
            return tx.advance_run(run.id, run.state, to, actor="daemon", checkpoint=checkpoint)
        if to == "judged":
            tx.put_gate_results(run.id, [gate(run.id, round=run.round, passed=passed)])
        if to == "building" and run.state == "judged":
            smaller = tx.create_view(tx.view_facts(run.view)[1:])
            return tx.advance_run(run.id, "judged", to, actor="daemon", view=smaller.digest)
        if to == "promoted":
            assert checkpoint is not None
            tx.promote(checkpoint, self.leases[-1], run=run.id, hooks=["symlink", "vllm"])
        if to == "deployed":
            for one in tx.deployments(checkpoint=checkpoint):
                if one.state in ("pending", "failed"):
                    tx.move_deployment(one.id, one.state, "deploying", actor="daemon")
                if one.state in ("pending", "failed", "deploying"):
                    tx.move_deployment(one.id, "deploying", "deployed", actor="daemon", observed="it")
        if to == "rolled_back":
            previous = tx.previous()
            if previous is not None and tx.live() == tx.checkpoint(run.checkpoint or 0):
                tx.promote(previous.id, self.leases[-1], reason="rollback")
                tx.block_view(run.view, "rolled back", "operator")
        return tx.advance_run(run.id, run.state, to, actor="daemon")

    @rule(chance=CHANCE)
    def somebody_acts_on_what_was_true_before(self, chance) -> None:
        with self.state.read() as tx:
            runs = tx.runs()
        if not runs:
            return
        run = chance.choice(runs)
        believed = chance.choice([one for one in OPEN if one != run.state])
        with pytest.raises(StaleTransition), self.state.write() as tx:
            tx.advance_run(run.id, believed, NEXT[believed][0], actor="late")

    @rule(holder=st.sampled_from(["first", "second"]))
    def leadership_changes(self, holder: str) -> None:
        self.clock.forward(days=1000)
        self.leases.append(self.state.acquire_lease("leader", holder, timedelta(days=999)))

    @rule(chance=CHANCE)
    def an_ex_leader_wakes_up(self, chance) -> None:
        with self.state.read() as tx:
            made = tx.checkpoints()
        if not made or len(self.leases) < 2:
            return
        with pytest.raises(StaleLeader), self.state.write() as tx:
            tx.promote(chance.choice(made).id, chance.choice(self.leases[:-1]))

    @rule()
    def an_operator_releases_a_view(self) -> None:
        with self.state.read() as tx:
            blocked = [block.view for block in tx.blocked_views()]
        for view in blocked:
            self.step(lambda tx, view=view: tx.release_view(view, "fixed", "operator"), killed=False)

    @rule()
    def a_restart_carries_every_open_run_to_its_end(self) -> None:
        self.restart()
        with self.state.read() as tx:
            todo = [run.id for run in tx.open_runs()]
        for id in todo:
            run_state: RunState | None = None
            while run_state not in ("deployed", "failed"):
                try:
                    with self.state.write() as tx:
                        run = tx.run(id)
                        run_state = self.move(tx, run, STRAIGHT[run.state]).state
                except (StateError, ViewBlocked):
                    with self.state.write() as tx:
                        run = tx.run(id)
                        run_state = tx.advance_run(
                            id, run.state, "failed", actor="daemon", reason="refused"
                        ).state
        with self.state.read() as tx:
            assert tx.open_runs() == ()

    @invariant()
    def log_and_tables_agree(self) -> None:
        check(self.state)

    @invariant()
    def live_has_passed(self) -> None:
        """No checkpoint is live but by a promotion of a run whose every gate of the last round passed."""
        with self.state.read() as tx:
            live = tx.live()
            if live is None:
                return
            judged = [run for run in tx.runs() if run.checkpoint == live.id]
            last = [[one for one in tx.gate_results(run.id) if one.round == run.round] for run in judged]
            proved = [gates for gates in last if gates and all(one.passed for one in gates)]
            assert proved
            assert not live.blocked


def machine(new_url, kind: str, examples: int, steps: int, *, shrinks: bool = True) -> None:
    # staticmethod: the machine is a class of its own for each kind of database
    kind_of = type(f"Runs_{kind}", (Runs,), {"new_url": staticmethod(lambda: new_url(kind))})
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        kind_of,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=quiet,
            derandomize=True,
            phases=[Phase.generate, Phase.shrink] if shrinks else [Phase.generate],
        ),
    )  # fmt: skip


def test_no_history_makes_the_ledger_contradict_itself(new_url) -> None:
    machine(new_url, "sqlite", examples=4, steps=20, shrinks=False)


@pytest.mark.slow
def test_no_long_history_makes_the_ledger_contradict_itself(new_url) -> None:
    machine(new_url, "sqlite", examples=40, steps=40)


@pytest.mark.slow
@pytest.mark.postgres
def test_no_history_makes_the_ledger_contradict_itself_on_postgresql(new_url) -> None:
    machine(new_url, "postgres", examples=20, steps=30)
