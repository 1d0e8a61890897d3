"""Real processes, killed with -9 or stopped at random instants while they write the ledger.

After every kill the chain verifies, log and tables tell the same, every import that was reported as
committed is there exactly once, and the next process goes on from where the last one was.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import pytest

from state import State
from tests.support.forks import FORKS
from tests.support.ledger_writer import SLOTS, promote_after_a_pause, write_for_ever
from tests.support.ledgers import Clock, staged
from tests.support.replay import check

Writer = tuple[BaseProcess, Connection]


@pytest.fixture
def writers() -> Iterator[list[Writer]]:
    started: list[Writer] = []
    yield started
    for process, _ in started:
        process.kill()
        process.join()


def start(writers: list[Writer], url: str, name: str, seed: int) -> Writer:
    here, there = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=write_for_ever, args=(url, name, seed, there))
    process.start()
    there.close()
    writers.append((process, here))
    return process, here


def newest(told: Connection) -> int:
    """The last number that the process reported before it died."""
    number = 0
    try:
        while True:
            number = told.recv()
    except EOFError:
        return number


def check_imports(state: State, reported: int) -> int:
    """Every import up to the cursor is there once; the cursor is not behind what was reported."""
    with state.read() as tx:
        number = int(tx.cursor("source") or 0)
        revisions = sorted(fact.revision for fact in tx.facts())
        wanted = sorted(fact.revision for fact in tx.wanted())
    assert number >= reported
    assert revisions == list(range(1, number + 1))
    assert wanted == list(range(max(1, number - SLOTS + 1), number + 1))
    return number


def kill_in_a_loop(writers: list[Writer], url: str, kills: int, *, at_once: int = 1, seed: int = 0) -> int:
    chance, state, reported = random.Random(seed), State.open(url), 0
    for kill in range(kills):
        running = [start(writers, url, f"writer {n}", seed + 10 * kill + n) for n in range(at_once)]
        running[0][1].poll(30)  # it has committed something
        time.sleep(chance.uniform(0, 0.08))
        for process, _ in running:
            assert process.exitcode is None, "it ended by itself"
            process.kill()
        reported = max(reported, *(newest(told) for _, told in running))
        for process, _ in running:
            process.join()
        reported = check_imports(state, reported)
    check(state)
    state.close()
    return reported


def test_killed_writers_leave_a_whole_ledger(writers, new_url) -> None:
    assert kill_in_a_loop(writers, new_url("sqlite"), kills=15) >= 15


@pytest.mark.slow
def test_two_writers_killed_together_leave_a_whole_ledger(writers, new_url) -> None:
    assert kill_in_a_loop(writers, new_url("sqlite"), kills=6, at_once=2, seed=7) >= 6


@pytest.mark.postgres
def test_killed_writers_leave_a_whole_ledger_on_postgresql(writers, new_url) -> None:
    assert kill_in_a_loop(writers, new_url("postgres"), kills=5, at_once=2, seed=3) >= 5


@pytest.mark.slow
def test_sixty_kills_leave_a_whole_ledger(writers, new_url) -> None:
    assert kill_in_a_loop(writers, new_url("sqlite"), kills=60, at_once=2, seed=19) >= 60


@pytest.mark.thorough
def test_two_hundred_kills_leave_a_whole_ledger(writers, new_url) -> None:
    assert kill_in_a_loop(writers, new_url("sqlite"), kills=200, at_once=2, seed=11) >= 200


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_a_leader_that_was_stopped_past_its_lease_cannot_promote(new_url, kind: str) -> None:
    """The ex-leader is a real process under SIGSTOP; it wakes convinced that it leads."""
    url, clock = new_url(kind), Clock()
    state = State.open(url, clock)
    lease = state.acquire_lease("leader", "first", 60)
    with state.write() as tx:
        one, two = staged(tx, "wd:Q1"), staged(tx, "wd:Q2")
    here, there = FORKS.Pipe()
    process = FORKS.Process(target=promote_after_a_pause, args=(url, lease, one.id, there))
    process.start()
    assert here.recv() == "ready"
    os.kill(process.pid or 0, signal.SIGSTOP)
    here.send("go on")
    clock.forward(minutes=5)
    newer = state.acquire_lease("leader", "second", 60)
    with state.write() as tx:
        tx.promote(two.id, newer)
    os.kill(process.pid or 0, signal.SIGCONT)
    assert here.recv().startswith("StaleLeader: lease 'leader' generation 1 is stale")
    process.join()
    with state.read() as tx:
        assert tx.live() == tx.checkpoint(two.id)
        assert [event.actor for event in tx.events(kind="checkpoint.promoted")] == ["second"]
    check(state)
    state.close()
