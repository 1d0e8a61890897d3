"""kill -9 at random instants of a whole cycle, of the daemon with its worker or of the worker alone.

Whatever was running, the next start reaches the twin's end, nothing is lost or done twice, and live
is always whole and proved.  The instants are drawn from a seed, over the length that the cycle was
measured to take here.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.support.fault_world import World, check_same, check_whole

WORKER_ALONE = 0.25
"""Share of the kills that hit only the worker."""
AGAIN = 0.3
"""Share of the trials in which the next start is killed too."""


def measured(template: World, root: Path) -> float:
    """Seconds from the start of a process to its end, undisturbed."""
    started = time.monotonic()
    template.copy(root).live_through()
    return time.monotonic() - started


def trial(world: World, twin: World, chance: random.Random, length: float) -> None:
    kills = 1
    while kills:
        kills -= 1
        finished = world.deltas()
        life = world.start()
        life.listen_until(time.monotonic() + chance.uniform(0, length))
        if chance.random() < WORKER_ALONE and life.kill_worker():
            life.end()  # the same cycle goes on with another worker
        else:
            life.kill()
        assert finished.items() <= world.deltas().items()
        check_whole(world, started=False)
        kills += chance.random() < AGAIN
    finished = world.deltas()
    world.live_through()
    assert finished.items() <= world.deltas().items(), "a finished δ was computed again"
    check_whole(world, started=True)
    check_same(world, twin)


def trials(count: int, seed: int, template: World, twin: World, root: Path) -> None:
    length = measured(template, root / "measured")
    for number in range(count):
        world = template.copy(root / str(number))
        trial(world, twin, random.Random(f"{seed}/{number}"), length)
        world.forget()


@pytest.mark.slow
def test_killed_at_random_instants_the_next_start_reaches_the_same_end(
    template: World, twin: World, tmp_path: Path
) -> None:
    trials(3, 1, template, twin, tmp_path)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("seed", "count"),
    [
        pytest.param(2, 15, marks=pytest.mark.slow),
        *(pytest.param(seed, 50, marks=pytest.mark.thorough) for seed in (3, 4, 5, 6)),
    ],
)
def test_killed_again_and_again_at_random_instants(
    seed: int, count: int, template: World, twin: World, tmp_path: Path
) -> None:
    trials(count, seed, template, twin, tmp_path)
