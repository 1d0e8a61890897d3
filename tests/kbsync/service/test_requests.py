"""What an operator asks from another process is carried out by whoever leads, within seconds, and once."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kbsync.runs import promotion
from kbsync.service.requests import Desk
from state.records import Checkpoint, Request
from tests.support.daemons import Served, served
from tests.support.replay import check

REVIEWED = "[review]\nrequired = true"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Served]:
    made = served(tmp_path / "world")
    yield made
    made.end()


def live(world: Served) -> Checkpoint | None:
    with world.ledger().read() as tx:
        return tx.live()


def last_request(world: Served) -> Request | None:
    with world.ledger().read() as tx:
        return next(iter(tx.requests(limit=1)), None)


def is_last(world: Served, state: str) -> bool:
    request = last_request(world)
    return request is not None and request.state == state


def twice_promoted(world: Served) -> None:
    """Two checkpoints that were live."""
    for owner in ("Anna", "Bob"):
        world.promote({"Blue House": owner})
    found = live(world)
    assert found is not None
    assert found.id == 2


def test_operator_commands_while_a_build_is_running(world: Served) -> None:
    """A rollback breaks the build off; what it was asked for twice happens once; and the daemon goes on."""
    twice_promoted(world)
    with world.daemon() as daemon:
        world.hold.touch()
        world.say({"Red Boat": "Carl"})
        syncing = world.start("sync", "--no-wait")
        assert syncing.wait() == 0
        world.until(lambda: (world.home.round(3, 1).spec).exists())
        done = world.run("rollback", "--reason", "Bob is wrong")
        assert done.returncode == 0, done.stderr
        assert "live is checkpoint 1 again" in done.stderr
        found = live(world)
        assert found is not None
        assert found.id == 1
        assert world.home.live.readlink() == Path("1-1")
        with world.ledger().read() as tx:
            assert tx.run(3).state == "rejected"
        world.hold.unlink()
        world.until(lambda: [run for run in _runs(world) if run == "deployed"][1:])
        assert daemon.returncode is None
        for command in (["pause", "--reason", "an audit"], ["resume"], ["sync"], ["dry-run"]):
            done = world.run(*command)
            assert done.returncode == 0, done.stderr
            assert "in use" not in done.stderr
        assert "settings: the base is not calibrated" in " ".join(done.stderr.split())  # of the dry run
    state = world.ledger()
    check(state)
    with state.read() as tx:
        assert {one.state for one in tx.requests()} == {"done"}
        kinds = [event.kind for event in tx.events(kind="request.*")]
    assert kinds.count("request.asked") == 4
    assert kinds.count("request.done") == 4


def _runs(world: Served) -> list[str]:
    with world.ledger().read() as tx:
        return [run.state for run in tx.runs()]


def test_an_approval_is_carried_out_by_the_daemon(tmp_path: Path) -> None:
    world = served(tmp_path / "world", extra=REVIEWED)
    try:
        world.say({"Blue House": "Anna"})
        with world.daemon():
            world.until(lambda: _runs(world) == ["awaiting_review"])
            done = world.run("review", "approve", "1", "--reason", "looks right")
            assert done.returncode == 0, done.stderr
            assert "run 1: deployed" in done.stderr
            again = world.run("review", "approve", "1", "--reason", "looks right")
            assert again.returncode == 2
            assert "does not wait for review: it is deployed" in again.stderr
    finally:
        world.end()


def test_a_refusal_has_the_exit_code_of_its_error(world: Served) -> None:
    world.promote({"Blue House": "Anna"})
    with world.daemon():
        done = world.run("rollback", "--reason", "wrong")
    assert done.returncode == 2
    assert "no earlier checkpoint" in done.stderr


def test_a_command_that_is_killed_leaves_its_request_to_the_daemon(world: Served) -> None:
    twice_promoted(world)
    world.hold.touch()
    world.say({"Red Boat": "Carl"})
    with world.daemon():
        world.until(lambda: (world.home.round(3, 1).spec).exists())
        asking = world.start("sync")
        world.until(lambda: last_request(world) is not None)
        asking.process.kill()
        world.hold.unlink()
        world.until(lambda: is_last(world, "done"))


def test_a_daemon_that_is_killed_leaves_its_request_to_the_command(world: Served) -> None:
    world.say({"Blue House": "Anna"})
    world.hold.touch()
    with world.daemon() as daemon:
        world.until(lambda: (world.home.round(1, 1).spec).exists())
        asking = world.start("sync")
        world.until(lambda: is_last(world, "waiting"))
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
        world.hold.unlink()
        assert asking.wait() == 0, asking.stderr
    assert is_last(world, "done")
    assert _runs(world) == ["deployed"]
    assert asking.stdout == ""


def test_the_same_request_asked_again_while_it_waits_is_one_request(world: Served) -> None:
    twice_promoted(world)
    state = world.ledger()
    with state.write() as tx:
        first = tx.ask("rollback", {"left": 2, "to": 1}, "wrong", "ada")
        again = tx.ask("rollback", {"left": 2, "to": 1}, "still wrong", "bob")
    assert first == again
    done = world.run("rollback", "--reason", "wrong, says Carl")
    assert done.returncode == 0, done.stderr
    found = live(world)
    assert found is not None
    assert found.id == 1
    with state.read() as tx:
        assert len(tx.events(kind="checkpoint.promoted")) == 3


def test_a_rollback_that_was_carried_out_by_a_process_that_died_is_not_done_twice(world: Served) -> None:
    """The promotion is committed, the answer is not."""
    twice_promoted(world)
    with world.application() as app, app.leading() as leadership:
        with app.state.write() as tx:
            asked = tx.ask("rollback", {"left": 2, "to": 1}, "wrong", "ada")
            tx.begin_request(asked.id, "kbsync")
        promotion.rollback(app, leadership, target=1, reason="wrong", actor="ada")
        assert Desk(app, leadership).carry_out(asked)
        with app.state.read() as tx:
            assert tx.request(asked.id).state == "done"
            assert len(tx.events(kind="checkpoint.promoted")) == 3
        check(app.state)


def test_a_request_that_nobody_began_can_be_withdrawn(world: Served) -> None:
    done = world.run("sync", "--no-wait")
    assert done.returncode == 0, done.stderr
    (number,) = _numbers(world)
    assert world.run("requests", "withdraw", str(number)).returncode == 0
    assert is_last(world, "withdrawn")
    assert world.run("requests", "withdraw", str(number)).returncode == 2


def test_a_request_that_kills_every_leader_is_given_up(world: Served) -> None:
    with world.application() as app, app.leading() as leadership:
        with app.state.write() as tx:
            asked = tx.ask("sync", {"bootstrap": False}, "", "ada")
            for _ in range(3):
                tx.begin_request(asked.id, "kbsync")
        desk = Desk(app, leadership)
        assert desk.next() is not None
        assert desk.next(only=asked.id + 1) is None, "a command carries out its own and what is urgent"
        assert desk.carry_out(asked)
        with app.state.read() as tx:
            given_up = tx.request(asked.id)
    assert given_up.state == "refused"
    assert "given up" in json.loads(given_up.answer)["message"]


def _numbers(world: Served) -> list[int]:
    with world.ledger().read() as tx:
        return [request.id for request in tx.requests()]
