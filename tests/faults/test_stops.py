"""SIGTERM, clocks that are set back, and upgrades, each in the middle of a run."""

from __future__ import annotations

import json
import os
import signal
from datetime import timedelta

import pytest

from tests.support.fault_world import World, check_same, check_whole, process_state


@pytest.mark.parametrize("stuck", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_sigterm_in_mid_run_is_out_in_time_and_the_next_start_goes_on(
    stuck: bool, world: World, twin: World
) -> None:
    """Also with a worker that hears nothing any more."""
    world.configure("[executor]", "[executor]\nstop_timeout = '2s'")
    life = world.start()
    life.reached("targets")
    if stuck:
        os.kill(life.worker(), signal.SIGSTOP)
    life.send(signal.SIGTERM)
    assert life.wait() == 1
    assert "Stopping" in life.said()
    assert is_gone(life.worker())
    finished = world.deltas()
    world.live_through()
    assert finished.items() <= world.deltas().items()
    check_whole(world, started=True)
    check_same(world, twin)


def test_a_clock_set_back_starts_no_second_run_and_loses_no_time(world: World, twin: World) -> None:
    world.live_through()
    world.now -= timedelta(days=30)
    for asked in (False, True):
        life = world.start(asked=asked)
        assert life.end() == []
    check_whole(world, started=True)
    check_same(world, twin)


@pytest.mark.slow
def test_a_clock_set_back_in_mid_run_changes_nothing(world: World, twin: World) -> None:
    assert world.start(crash="kbsync.lifecycle:after-building").wait() == -signal.SIGKILL
    world.now -= timedelta(days=30)
    world.live_through()
    check_whole(world, started=True)
    check_same(world, twin)


def is_gone(pid: int) -> bool:
    """Dead; whoever inherited it may not have buried it yet."""
    try:
        return process_state(pid) == "Z"
    except FileNotFoundError:
        return True


def set_version(world: World, name: str, version: int) -> None:
    path = world.home.run(2) / "round-1" / name
    content = json.loads(path.read_text())
    content["version"] = version
    path.chmod(0o644)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("point", "ends"),
    [
        pytest.param(
            "editing.worker:after-report@2", ["deployed"], marks=pytest.mark.slow
        ),  # it is built again
        (
            "kbsync.lifecycle:after-building",
            ["failed", "deployed"],
        ),  # it was built, and can no more be judged
    ],
)
def test_an_upgrade_in_mid_run_resumes_or_fails_cleanly(point: str, ends: list[str], world: World) -> None:
    """What lies there was written in another version of spec and report."""
    assert world.start(crash=point).wait() == -signal.SIGKILL
    for name in ("spec.json", "report.json"):
        set_version(world, name, 0)
    finished = world.deltas()
    assert [state for _, state, _ in world.start().end()] == ends
    assert finished.items() <= world.deltas().items()
    check_whole(world, started=True)


@pytest.mark.slow
def test_a_ledger_of_a_newer_version_is_left_alone_in_mid_run(world: World, twin: World) -> None:
    from sqlalchemy import text

    assert world.start(crash="kbsync.lifecycle:after-built").wait() == -signal.SIGKILL
    state = world.ledger()
    with state.write() as tx:
        (ours,) = tx.connection.execute(text("SELECT version_num FROM alembic_version")).one()
        tx.connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    life = world.start()
    assert life.wait() == 1
    assert "NewerSchema" in life.said()
    with state.write() as tx:
        tx.connection.execute(text("UPDATE alembic_version SET version_num = :ours"), {"ours": ours})
    state.close()
    world.live_through()
    check_whole(world, started=True)
    check_same(world, twin)
