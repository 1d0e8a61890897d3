"""Two daemons on one ledger: one leads, and one that was paused past its lease is refused."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fault_world import World, check_whole, settled


def promotions(world: World) -> list[tuple[int, int]]:
    """(checkpoint, generation) of every promotion there was."""
    state = world.ledger()
    with state.read() as tx:
        told = [json.loads(event.body) for event in tx.events(kind="checkpoint.promoted")]
    state.close()
    return [(one["checkpoint"], one["generation"]) for one in told]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=[pytest.mark.postgres, pytest.mark.slow])])
def two(
    request: pytest.FixtureRequest, tmp_path: Path, template: World, new_url: Callable[[str], str]
) -> tuple[World, World]:
    """Two homes on one ledger, as on two machines."""
    if request.param == "postgres":
        url = new_url("postgres")
        one = settled(tmp_path / "one", extra=f"[state]\nurl = '{url}'", url=url)
    else:
        one = template.copy(tmp_path / "one")
        url = one.database
    other = one.copy(tmp_path / "other")
    one.url = other.url = url
    other.configure(str(other.drop), str(one.drop))  # one source, as a folder on a share
    if request.param == "sqlite":
        other.configure("[executor]", f"[state]\nurl = '{url}'\n\n[executor]")
    return one, other


@pytest.mark.slow
def test_a_second_daemon_on_the_ledger_waits_for_the_lease(two: tuple[World, World]) -> None:
    one, other = two
    first = one.start(crash="kbsync.lifecycle:spec-written!STOP")
    first.stopped()
    other.now = one.now  # an hour less than it would be: within the lease
    before = promotions(one)
    other.now -= other.HOUR
    second = other.start()
    assert second.wait() == 1
    assert "LeaseHeld" in second.said()
    first.send(signal.SIGCONT)
    assert first.end()[0][1] == "deployed"
    assert len(promotions(one)) == len(before) + 1
    check_whole(one, started=True)


@pytest.mark.parametrize(
    "point",
    [
        "kbsync.lifecycle:after-judged@2",
        pytest.param("kbsync.lifecycle:spec-written", marks=pytest.mark.slow),
    ],
)
def test_a_leader_that_was_paused_past_its_lease_is_refused(point: str, two: tuple[World, World]) -> None:
    one, other = two
    first = one.start(crash=f"{point}!STOP")
    first.stopped()
    other.now = one.now
    runs = other.start().end()
    assert [state for _, state, _ in runs][-1] == "deployed"
    done = promotions(one)
    assert len(done) == 2
    first.send(signal.SIGCONT)
    assert first.wait() == 1
    assert "StaleLeader" in first.said()
    assert promotions(one) == done
    check_whole(other, started=True)


@pytest.mark.slow
def test_two_processes_do_not_share_a_home(world: World) -> None:
    first = world.start(crash="kbsync.lifecycle:spec-written!STOP")
    first.stopped()
    second = world.start()
    assert second.wait() == 1
    assert "in use by kbsync" in second.said()
    first.send(signal.SIGCONT)
    first.end()
    check_whole(world, started=True)


def test_a_killed_daemon_is_followed_at_once_by_the_next(world: World) -> None:
    """Its lease has minutes to go, but the home's lock tells that nobody holds it any more."""
    life = world.start(crash="kbsync.lifecycle:after-built")
    assert life.wait() == -signal.SIGKILL
    world.now -= world.HOUR
    world.live_through()
    check_whole(world, started=True)
