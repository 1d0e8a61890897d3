"""What befalls workers, in whole cycles: hung, out of memory, of another version, killed again and again."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from tests.support.fault_world import World, check_same, check_whole, process_state


def attempts(world: World) -> list[tuple[str, str]]:
    """(outcome, reason) of every attempt of the newest run."""
    state = world.ledger()
    with state.read() as tx:
        newest = tx.runs(limit=1)[0]
        found = [(one.outcome, json.loads(one.evidence).get("reason", "")) for one in tx.attempts(newest.id)]
    state.close()
    return found


def failed(world: World, **befalls: object) -> str:
    """A cycle whose run fails, and leaves live alone; returns the run's reason."""
    before = world.home.live.readlink()
    runs = world.start(**befalls).end()
    assert [state for _, state, _ in runs] == ["failed", "failed"]  # the open one, and what was asked for
    assert world.home.live.readlink() == before
    check_whole(world, started=True)
    return str(runs[-1][2])


def know_the_answers(world: World) -> None:
    """Let the base be asked about the news by a life that dies before it builds."""
    assert world.start(crash="kbsync.lifecycle:after-planned").wait() == -signal.SIGKILL


@pytest.mark.slow
def test_a_stopped_worker_is_hung_is_killed_and_another_one_finishes(world: World, twin: World) -> None:
    world.configure("[executor]", "[executor]\nheartbeat_timeout = '4s'")
    life = world.start()
    first = life.worker()
    os.kill(first, signal.SIGSTOP)
    assert life.end()[0][1] == "deployed"
    assert len(life.workers) == 2
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    check_whole(world, started=True)
    check_same(world, twin)


@pytest.mark.slow
def test_a_worker_without_memory_fails_the_run_after_bounded_attempts(world: World) -> None:
    know_the_answers(world)
    reason = failed(world, memory=4 << 20)
    assert reason.startswith("out_of_memory: ")
    assert len(attempts(world)) == 3
    world.live_through()
    check_whole(world, started=True)


def test_a_worker_of_another_version_fails_the_run_at_once(world: World) -> None:
    know_the_answers(world)
    reason = failed(world, version=999)
    assert reason.startswith("wrong_version: the worker speaks spec version 999")
    assert [outcome for outcome, _ in attempts(world)] == ["wrong_version"]


@pytest.mark.slow
def test_workers_that_are_always_killed_fail_the_run_with_the_signal(world: World) -> None:
    know_the_answers(world)
    life, killed = world.start(), set()
    while life.process.exitcode is None:
        life.listen(0.01)
        for pid in set(life.workers) - killed:
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
    for _, state, reason in life.end():
        assert state == "failed"
        assert reason.startswith("killed: the worker was killed by SIGKILL")
    assert [outcome for outcome, _ in attempts(world)] == ["killed"] * 3
    assert len(killed) == 6
    check_whole(world, started=True)


def test_an_orphaned_worker_does_not_outlive_its_daemon(world: World) -> None:
    life = world.start()
    worker = life.worker()
    life.kill()
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        try:
            if process_state(worker) == "Z":
                return  # dead, and whoever inherited it has not buried it yet
        except FileNotFoundError:
            return
        time.sleep(0.01)
    pytest.fail("the worker is still there a second after its daemon was killed")
