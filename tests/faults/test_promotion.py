"""What may not go live, and what a reader of `live` sees while it is switched and processes die."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from editing.storage import checkpoints
from editing.storage.manifest import read_manifest
from tests.support.fault_world import LIVES, PATIENCE_S, World, check_whole, tables
from tests.support.forks import FORKS
from tests.support.lives import Plan, switch_for_ever
from tests.support.proof import proved_digests


def not_a_number(measures: list[dict[str, Any]]) -> None:
    next(one for one in measures if one["name"] == "efficacy")["value"] = float("nan")


def missing(measures: list[dict[str, Any]]) -> None:
    measures[:] = [one for one in measures if one["name"] != "perplexity_ratio"]


def impossible(measures: list[dict[str, Any]]) -> None:
    """More hits than cases, of a sample: its confidence bound is the root of a negative number."""
    one = next(one for one in measures if one["name"] == "retention")
    one.update(value=1.0, n=4, k=40, exhaustive=False)


@pytest.mark.parametrize(
    "harm",
    [
        not_a_number,
        pytest.param(missing, marks=pytest.mark.slow),
        pytest.param(impossible, marks=pytest.mark.slow),
    ],
)
def test_a_gate_that_is_no_number_is_missing_or_crashes_never_promotes(
    harm: Callable[[list[dict[str, Any]]], None], world: World
) -> None:
    before = world.home.live.readlink()
    assert world.start(crash="kbsync.lifecycle:after-building").wait() == -signal.SIGKILL
    path = world.home.run(2) / "round-1" / "report.json"
    report = json.loads(path.read_text())
    harm(report["measures"])
    path.write_text(json.dumps(report))
    assert world.start(crash="kbsync.lifecycle:after-judged").wait() == -signal.SIGKILL
    assert world.home.live.readlink() == before
    state = world.ledger()
    with state.read() as tx:
        assert tx.run(2).state in ("building", "rejected")  # a smaller round, or its end; never staged
        assert any(not one.passed for one in tx.gate_results(2) if one.round == 1)
    state.close()
    world.live_through()
    check_whole(world, started=True)


@pytest.mark.parametrize(
    ("policy", "end"), [pytest.param("reject", "rejected", marks=pytest.mark.slow), ("approve", "deployed")]
)
def test_nobody_reviews_and_the_policy_decides_after_a_restart(policy: str, end: str, world: World) -> None:
    review = f"[review]\nrequired = true\ntimeout = '2h'\non_timeout = '{policy}'\n\n[executor]"
    world.configure("[executor]", review)
    before = world.home.live.readlink()
    assert world.live_through()[0][1] == "awaiting_review"
    assert world.live_through()[0][1] == "awaiting_review"
    assert world.home.live.readlink() == before
    world.now += timedelta(hours=2)
    assert world.start(crash="kbsync.lifecycle:after-awaiting_review").wait() == -signal.SIGKILL
    runs = world.start(asked=False).end()
    assert [run[1] for run in runs if run[0] == 2] == ([end] if end == "deployed" else [])
    assert {run[0]: run[1] for run in tables(world)["runs"]}[2] == end
    assert (world.home.live.readlink() != before) == (end == "deployed")
    check_whole(world, started=True)


def test_what_was_rolled_back_is_not_promoted_by_a_run_that_was_open(twin: World, tmp_path: Path) -> None:
    """The open run was planned before the rollback and holds the very fact that was left."""
    world = twin.copy(tmp_path / "world")
    state = world.ledger()
    with state.read() as tx:
        live, before = tx.live(), tx.previous()
        assert live is not None
        assert before is not None
        left = {f.id for f in tx.view_facts(live.view)} - {f.id for f in tx.view_facts(before.view)}
    assert left
    world.say({"White Tower": "Anna"})
    assert world.start(crash="kbsync.lifecycle:after-built").wait() == -signal.SIGKILL
    world.live_through("rollback")
    for asked in (True, False, True):
        world.start(asked=asked).end()
        check_whole(world, started=True)
        with state.read() as tx:
            now = tx.live()
            assert now is not None
            assert not left & {fact.id for fact in tx.view_facts(now.view)}
            assert now.view != live.view
    with state.read() as tx:
        assert tx.run(3).state == "rejected"
        assert "rolled back meanwhile" in tx.run(3).reason
    state.close()


def test_a_b_a_ends_without_a_run_or_with_the_kept_checkpoint(twin: World, tmp_path: Path) -> None:
    world = twin.copy(tmp_path / "world")
    first = tables(world)["live"]
    world.say({"Green Barn": "Bob"})
    world.say({"Green Barn": "Anna"}, name="9")
    assert world.live_through() == []
    assert tables(world)["live"] == first
    check_whole(world, started=True)


def test_killed_while_promoting_in_a_loop_a_reader_always_sees_a_proved_version(
    twin: World, tmp_path: Path
) -> None:
    world = twin.copy(tmp_path / "world")
    state = world.ledger()
    proved, root, chance, reads = proved_digests(state), world.home.checkpoints, random.Random(0), 0
    seen: set[str] = set()
    for _ in range(12):
        world.now += timedelta(minutes=10)
        here, there = FORKS.Pipe(duplex=False)
        process = FORKS.Process(target=switch_for_ever, args=(Plan(world.root, world.now), there))
        process.start()
        LIVES.append(process)
        assert here.recv() == "begun"
        deadline = time.monotonic() + PATIENCE_S
        left, switches, last = chance.randint(30, 150), 0, ""
        # As many reads as chance says, and until the link was seen to move: however fast this machine is.
        while (left > 0 or switches < 2) and time.monotonic() < deadline:
            left -= 1
            name = checkpoints.read_live(root)
            assert name is not None
            assert read_manifest(root / name).digest in proved
            seen.add(name)
            switches, last = switches + (name != last), name
            reads += 1
        process.kill()
        process.join()
        name = checkpoints.read_live(root)
        assert name is not None
        assert checkpoints.verify(root / name) in proved
    state.close()
    assert seen == {"1-1", "2-2"}
    assert reads > 500
    world.live_through()
    check_whole(world, started=True)
    assert not [path.name for path in root.iterdir() if path.name.startswith(".staging-")]
