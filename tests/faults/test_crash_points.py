"""kill -9 at every named crash point of a whole cycle: the next start reaches the twin's end.

The points are read from the code, so a new one is tested or this file fails.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.crash_points import CYCLE, ELSEWHERE, crash_points
from tests.support.fault_world import FIRST, World, check_same, check_whole, fresh


def die(world: World, point: str, does: str = "sync", *, together: bool = True) -> None:
    """A life that ends at the point; what was finished before is not done again by the next."""
    life = world.start(does, crash=point, together=together)
    assert life.wait() == -signal.SIGKILL, f"{point} was not passed: {life.outcome}"
    check_whole(world, started=False)


def go_on(world: World, does: str = "sync") -> None:
    finished = world.deltas()
    world.live_through(does)
    assert finished.items() <= world.deltas().items(), "a finished δ was computed again"
    check_whole(world, started=True)


QUICK = {
    "editing.worker:after-build",
    "kbsync.lifecycle:before-quarantine",
    "kbsync.promotion:after-commit",
    "kbsync.deploying:after-telling",
}


def marked(points: list[str]) -> list[object]:
    return [pytest.param(p, marks=[] if p in QUICK else pytest.mark.slow) for p in points]


def test_every_exception_is_a_crash_point_of_the_code() -> None:
    assert ELSEWHERE.keys() | QUICK <= set(crash_points())


@pytest.mark.parametrize("point", marked(CYCLE))
def test_killed_at_a_crash_point_the_next_start_reaches_the_same_end(
    point: str, world: World, twin: World
) -> None:
    die(world, point)
    go_on(world)
    check_same(world, twin)


SECOND_PASS = [point for point in CYCLE if point.startswith(("editing.worker", "kbsync.lifecycle:after-b"))]


@pytest.mark.slow
@pytest.mark.parametrize("point", SECOND_PASS)
def test_killed_in_the_second_round_the_next_start_reaches_the_same_end(
    point: str, world: World, twin: World
) -> None:
    die(world, f"{point}@2")
    go_on(world)
    check_same(world, twin)


WORKERS = [
    point for point in CYCLE if point.startswith(("editing.worker", "editing.checkpoints:after-rename"))
]


@pytest.mark.parametrize("point", marked(WORKERS))
def test_a_worker_killed_alone_is_started_again_by_the_same_cycle(
    point: str, world: World, twin: World
) -> None:
    life = world.start(crash=point, together=False)
    life.end()
    assert len(life.workers) == 2
    check_whole(world, started=True)
    check_same(world, twin)


@pytest.mark.postgres
@pytest.mark.parametrize(
    "point",
    [p if p == "kbsync.promotion:after-commit" else pytest.param(p, marks=pytest.mark.slow) for p in CYCLE],
)
def test_killed_at_a_crash_point_with_the_ledger_on_postgresql(
    point: str, postgres_world: World, twin: World
) -> None:
    die(postgres_world, point)
    go_on(postgres_world)
    check_same(postgres_world, twin)


@pytest.mark.slow
def test_killed_while_the_base_is_imported(tmp_path: Path, template: World) -> None:
    world = fresh(tmp_path / "world")
    world.say(FIRST)
    die(world, "editing.bases:before-rename")
    assert any(path.name.startswith(".staging-") for path in world.home.base.iterdir())
    go_on(world)
    assert not any(path.name.startswith(".staging-") for path in world.home.base.iterdir())


@pytest.mark.slow
def test_killed_after_a_rollback_was_committed(twin: World, tmp_path: Path) -> None:
    # Both are copies of the same world: a drop folder that was copied once more is read once more.
    undisturbed, world = twin.copy(tmp_path / "undisturbed"), twin.copy(tmp_path / "world")
    undisturbed.live_through("rollback")
    die(world, "kbsync.promotion:after-rollback-commit", "rollback")
    go_on(world)
    check_same(world, undisturbed)


@pytest.mark.slow
def test_killed_after_an_approval_was_written_down(world: World, twin: World) -> None:
    world.configure("[executor]", "[review]\nrequired = true\n\n[executor]")
    assert [state for _, state, _ in world.live_through()] == ["awaiting_review"]
    check_whole(world, started=True)
    die(world, "kbsync.lifecycle:after-staged", "approve")
    go_on(world)
    check_same(world, twin)
