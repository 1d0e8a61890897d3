"""`kbsync sync` itself, as an operator starts it, killed at every crash point of a cycle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from editing.crashpoints import VARIABLE
from tests.support.crash_points import CYCLE
from tests.support.fault_world import World, check_same, check_whole, tables
from tests.support.paths import REPOSITORY

IN_WORKERS = ("editing.worker:", "editing.checkpoints:before-rename", "editing.checkpoints:after-rename")


def kbsync(world: World, *arguments: str, crash: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    if crash is not None:
        environment[VARIABLE] = crash
    command = [sys.executable, "-m", "kbsync", "--home", str(world.home.root), *arguments]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


SLOW = {
    "editing.worker:after-report",
    "editing.checkpoints:before-rename",
    "kbsync.lifecycle:before-quarantine",
    "kbsync.promotion:after-commit",
}
"""One of each kind of end; `test_crash_points.py` has every point, with forks in the place of commands."""


@pytest.mark.parametrize(
    "point",
    [
        pytest.param(point, marks=pytest.mark.slow if point in SLOW else pytest.mark.thorough)
        for point in CYCLE
    ],
)
def test_kbsync_sync_killed_at_a_crash_point_is_finished_by_the_next(
    point: str, world: World, twin: World
) -> None:
    died = kbsync(world, "sync", crash=point)
    check_whole(world, started=False)
    finished = world.deltas()
    done = kbsync(world, "sync")
    assert done.returncode == 0, done.stderr
    assert finished.items() <= world.deltas().items()
    check_whole(world, started=True)
    if point == "editing.worker:after-report":
        # The next worker found the report that the dead one had written, so the command went on.
        assert died.returncode == 0, died.stderr
        check_same(world, twin)
    elif point.startswith(IN_WORKERS):
        # Every worker died there, so the first command ended by itself, its run failed or none begun.
        assert died.returncode == 1, died.stderr
        ours, theirs = tables(world), tables(twin)
        assert ours["live"][0] == theirs["live"][0]
        assert [fact[:4] for fact in ours["facts"]] == [fact[:4] for fact in theirs["facts"]]
    else:
        assert died.returncode == -signal.SIGKILL, died.stderr
        check_same(world, twin)


@pytest.mark.slow
def test_kbsync_run_ends_at_sigterm_in_mid_run_and_goes_on_when_it_is_started_again(
    world: World, twin: World
) -> None:
    """The daemon as a service manager runs it."""
    world.configure("[plan]", "[plan]\nmin_pending = 1")

    def daemon() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "kbsync", "--home", str(world.home.root), "run"]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, cwd=REPOSITORY, env=environment)

    first = daemon()
    _until(lambda: (world.home.run(2) / "round-1" / "spec.json").exists())
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 0
    check_whole(world, started=False)
    second = daemon()
    _until(lambda: tables(world)["runs"][0][1] in ("deployed", "failed", "rejected"))
    second.send_signal(signal.SIGTERM)
    assert second.wait(60) == 0
    check_whole(world, started=True)
    check_same(world, twin)


def _until(condition: object, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)
