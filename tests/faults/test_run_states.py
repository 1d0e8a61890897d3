"""Random histories of whole runs: sources, reviewers, operators, workers and leaders in any order, and a
crash between any two steps.  What is promised holds after every one of them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from kbsync.errors import UsageError
from kbsync.executor import WorkerFailed
from kbsync.leadership import LEASE_TTL, Leadership
from kbsync.runs import promotion, review
from kbsync.runs.lifecycle import Lifecycle
from kbsync.service.cycle import cycle
from state.errors import StaleLeader
from state.records import Lease
from state.runs import NEXT
from tests.support.decisions import newly_unwanted
from tests.support.histories import Histories, run_histories
from tests.support.micro import Micro
from tests.support.proof import check_live
from tests.support.replay import check
from tests.support.scripted import RETRIED, Scripted

CRASHING = ["kbsync.lifecycle", "kbsync.promotion", "editing.checkpoints"]
SUBJECTS = st.sampled_from(["Blue House", "Red Boat", "Old Mill"])
NEWS = st.dictionaries(
    SUBJECTS, st.sampled_from(["Anna", "Bob", "Carl!", "Dora?", "Emil??", None]), max_size=3
)
FAILURES = st.lists(st.sampled_from(sorted(RETRIED)), max_size=4)
CRASH = st.none() | st.integers(1, 12)


class Killed(BaseException):
    """The process ended at a crash point."""


@contextmanager
def dying(at: int | None) -> Iterator[None]:
    """The block, ended at the `at`-th crash point that it passes."""
    passed = 0

    def crash(name: str) -> None:
        nonlocal passed
        passed += 1
        if passed == at:
            raise Killed(name)

    with (
        patch.multiple("kbsync.runs.lifecycle", crash_point=crash),
        patch.multiple("kbsync.runs.promotion", crash_point=crash),
        patch.multiple("editing.storage.checkpoints", crash_point=crash),
        suppress(Killed),
    ):
        yield


class Runs(Histories):
    @initialize(reviewed=st.booleans())
    def start(self, reviewed: bool) -> None:
        self.begin()
        self.paused: list[Lease] = []
        self.at_rest = True
        self.change_settings("reject", 100, reviewed=reviewed)

    def teardown(self) -> None:
        if hasattr(self, "root"):
            self.every_open_run_reaches_an_end()
            self.let_time_settle_it(self.a_quiet_cycle, reviewed=True)
            self.every_open_run_reaches_an_end()
            self.live_states_what_is_wanted()
            self.finish()

    @contextmanager
    def leading(self, crash: int | None = None) -> Iterator[Leadership]:
        self.micro.now += timedelta(hours=1)
        self.at_rest = False
        with dying(crash), self.app.leading() as leadership:
            yield leadership
            self.at_rest = True
        if not self.at_rest:
            self.restart()

    # What happens

    @rule(news=NEWS, failures=FAILURES, crash=CRASH, asked=st.booleans())
    def a_cycle(
        self, news: dict[str, str | None], failures: list[Any], crash: int | None, asked: bool
    ) -> None:
        self.state_in_a_file(news)
        with self.leading(crash) as leadership, suppress_failed_question():
            cycle(self.app, leadership, trigger="test", asked=asked, worker=Scripted(failures))

    @rule(news=NEWS)
    def a_cycle_without_accident(self, news: dict[str, str | None]) -> None:
        self.a_cycle(news, [], None, True)

    def a_quiet_cycle(self) -> None:
        self.a_cycle({}, [], None, True)

    @rule(crash=CRASH, approved=st.booleans())
    def a_reviewer_decides(self, crash: int | None, approved: bool) -> None:
        with self.state.read() as tx:
            waiting = tx.runs(state="awaiting_review")
        for run in waiting[:1]:
            with self.leading(crash) as leadership:
                if approved:
                    review.approve_run(self.app, leadership, run.id, "good", "reviewer")
                else:
                    review.reject_run(self.app, run.id, "bad", "reviewer")

    @rule(days=st.integers(1, 3))
    def time_passes(self, days: int) -> None:
        self.micro.now += timedelta(days=days)

    @rule(crash=CRASH)
    def an_operator_rolls_back(self, crash: int | None) -> None:
        with self.leading(crash) as leadership, suppress(UsageError):
            promotion.rollback(self.app, leadership, target=None, reason="wrong", actor="operator")

    @rule(news=NEWS, years=st.sampled_from([-3, 10]))
    def the_clock_is_wrong_for_a_cycle(self, news: dict[str, str | None], years: int) -> None:
        right = self.micro.now
        self.micro.now += timedelta(days=365 * years)
        self.a_cycle(news, [], None, True)
        self.micro.now = right + timedelta(hours=1)

    @rule()
    def a_candidate_is_damaged(self) -> None:
        with self.state.read() as tx:
            live = tx.live()
            open_ones = [run.checkpoint for run in tx.open_runs() if run.checkpoint is not None]
            found = [tx.checkpoint(one) for one in open_ones]
        for one in found:
            path = self.app.home.checkpoints / one.path / "editable.safetensors"
            if path.exists() and (live is None or one.id != live.id) and one.status == "candidate":
                path.chmod(0o644)
                path.write_bytes(path.read_bytes()[:-1])

    @rule()
    def a_leader_is_paused_and_another_takes_over(self) -> None:
        self.paused.append(self.state.acquire_lease("leader", "paused", LEASE_TTL))
        self.micro.now += 2 * LEASE_TTL
        lease = self.state.acquire_lease("leader", "another", LEASE_TTL)
        self.state.release_lease(lease)

    @rule()
    def a_paused_leader_wakes_up_and_goes_on_with_every_open_run(self) -> None:
        if not self.paused:
            return
        asleep = Leadership(self.state, self.micro.clock, self.paused[-1])
        with self.state.read() as tx:
            before = [run for run in tx.open_runs() if run.state not in ("awaiting_review", "promoted")]
        for run in before:
            with pytest.raises(StaleLeader):
                Lifecycle(self.app, asleep, Scripted()).drive(run)
        with self.state.read() as tx:
            assert [tx.run(run.id).state for run in before] == [run.state for run in before]

    @rule()
    def every_open_run_reaches_an_end(self) -> None:
        self.a_cycle({}, [], None, False)
        self.a_reviewer_decides(None, True)
        self.a_cycle({}, [], None, False)
        self.a_reviewer_decides(None, True)
        with self.state.read() as tx:
            assert tx.open_runs() == ()

    # What holds

    @invariant()
    def nothing_unwanted_went_live(self) -> None:
        if hasattr(self, "state"):
            assert newly_unwanted(self.state) == []

    @invariant()
    def the_ledger_tells_the_truth_and_live_is_proved(self) -> None:
        if hasattr(self, "state"):
            check(self.state)
            check_live(self.app.home, self.state, started=self.at_rest)

    @invariant()
    def runs_go_only_where_they_may_and_nothing_is_promoted_twice(self) -> None:
        if not hasattr(self, "state"):
            return
        at: dict[int, str] = {}
        blocked: set[str] = set()
        promoted: Counter[int] = Counter()
        with self.state.read() as tx:
            events = tx.events()
        for event in events:
            body = json.loads(event.body)
            if event.kind == "run.planned":
                at[event.run or 0] = "planned"
            elif event.kind.startswith("run.") and "to" in body:
                assert body["from"] == at[event.run or 0]
                assert body["to"] in NEXT[body["from"]]
                at[event.run or 0] = body["to"]
            elif event.kind in ("view.blocked", "view.released"):
                (blocked.add if event.kind == "view.blocked" else blocked.discard)(body["view"])
            elif event.kind == "checkpoint.promoted":
                assert body["view"] not in blocked, "what was rolled back is live again"
                promoted[event.run or 0] += not body["reason"].startswith("rollback")
        assert max(promoted.values(), default=0) <= 1
        with self.state.read() as tx:
            assert {run.id: run.state for run in tx.runs()} == at


@contextmanager
def suppress_failed_question() -> Iterator[None]:
    """A worker that fails while the base is asked ends the cycle: there is no run yet to fail."""
    with suppress(WorkerFailed):
        yield


def test_no_history_of_runs_breaks_a_promise(imported_world: Micro) -> None:
    run_histories(Runs, imported_world, examples=3, steps=15)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_long_history_of_runs_breaks_a_promise(imported_world: Micro) -> None:
    run_histories(Runs, imported_world, examples=25, steps=40)


@pytest.mark.thorough
@pytest.mark.timeout(3600)
def test_no_long_history_of_many_breaks_a_promise(imported_world: Micro) -> None:
    run_histories(Runs, imported_world, examples=300, steps=40)
