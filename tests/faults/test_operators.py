"""Operator commands from other processes against a running daemon, and kill -9 on either side.

What comes of a schedule is one that could have happened one command after the other: every request is
answered once, the log and the tables agree, nothing unwanted went live anew, and no scheduled run was
planned while the daemon was paused.
"""

from __future__ import annotations

import json
import random
import subprocess
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.daemons import Served, served
from tests.support.decisions import newly_unwanted
from tests.support.proof import check_live
from tests.support.replay import check

SUBJECTS = ("Blue House", "Red Boat", "Old Mill")
COMMANDS = ("sync", "sync", "rollback", "approve", "retract", "pause", "resume", "release")
KILLED = 0.25
"""Share of the steps at which somebody is killed: the command, or the daemon."""


def command(world: Served, what: str, chance: random.Random) -> list[str] | None:
    """The words of a command that makes sense now; None where there is nothing to do it to."""
    why = ["--reason", f"schedule {chance.randrange(1000)}"]
    with world.ledger().read() as tx:
        wanted = [str(fact.id) for fact in tx.wanted()]
        waiting = [str(run.id) for run in tx.runs(state="awaiting_review")]
        kept = [str(one.id) for one in tx.checkpoints() if one.blocked]
    match what:
        case "sync":
            return ["sync"]
        case "rollback":
            return ["rollback", *why]
        case "approve" if waiting:
            return ["review", "approve", chance.choice(waiting), *why]
        case "retract" if wanted:
            return ["retract", chance.choice(wanted), *why]
        case "pause":
            return ["pause", *why]
        case "resume":
            return ["resume"]
        case "release" if kept:
            return ["checkpoints", "release", chance.choice(kept), *why]
    return None


def schedule(world: Served, chance: random.Random, steps: int) -> None:
    daemon = world.background_daemon()
    running: list[subprocess.Popen[str]] = []
    for number in range(steps):
        if chance.random() < 0.5:
            subject, owner = chance.choice(SUBJECTS), chance.choice(["Anna", "Bob", None])
            world.say({subject: owner}, name=f"{number:03}")
        words = command(world, chance.choice(COMMANDS), chance)
        if words is not None:
            running.append(world.start(*words))
        time.sleep(chance.uniform(0, 2.0))
        if running and chance.random() < KILLED:
            if chance.random() < 0.5:
                chance.choice(running).kill()
            else:
                daemon.kill()
                daemon.wait()
                daemon = world.background_daemon()
    for process in running:
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=120)
        assert process.returncode is not None, f"{process.args} does not end"
        assert process.returncode in (0, 1, 2, 10, 75, -9), f"{process.args} ended with {process.returncode}"
    world.run("resume")
    assert world.run("sync").returncode in (0, 10), "and the daemon still works"
    daemon.terminate()
    daemon.wait(60)


def verify(world: Served) -> None:
    state = world.ledger()
    check(state)
    assert newly_unwanted(state) == []
    with world.application() as app:
        check_live(app.home, state, started=False)
    with state.read() as tx:
        requests, events = tx.requests(), tx.events()
    ends: dict[int, int] = {}
    paused = False
    for event in events:
        body = json.loads(event.body)
        if event.kind in ("request.done", "request.refused", "request.withdrawn"):
            ends[body["request"]] = ends.get(body["request"], 0) + 1
        paused = {"daemon.paused": True, "daemon.resumed": False}.get(event.kind, paused)
    assert ends == {request.id: 1 for request in requests}, "each is answered, and once"
    assert {request.state for request in requests} <= {"done", "refused"}
    moves = [json.loads(event.body) for event in events if event.kind == "checkpoint.promoted"]
    for before, after in pairwise(moves):
        assert after["previous"] == before["checkpoint"], "promotions follow one after the other"
    done = [r for r in requests if r.action == "rollback" and r.state == "done"]
    rolled = sum(move["reason"].startswith("rollback") for move in moves)
    assert rolled <= len(done), "no rollback happened twice"


def trial(root: Path, seed: int, steps: int) -> None:
    world = served(root, extra="[review]\nrelations = ['crm:owner']\n")
    try:
        schedule(world, random.Random(seed), steps)
        verify(world)
    finally:
        world.end()


def test_a_schedule_of_commands_and_kills_could_have_happened_one_after_the_other(tmp_path: Path) -> None:
    trial(tmp_path / "world", 1, 5)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(2, 502))
def test_five_hundred_schedules_could_have_happened_one_after_the_other(seed: int, tmp_path: Path) -> None:
    trial(tmp_path / "world", seed, 10)
