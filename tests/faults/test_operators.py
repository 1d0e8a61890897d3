"""Operator commands from other processes against a running daemon, and kill -9 on either side.

What comes of a schedule is one that could have happened one command after the other
(`tests/support/serial_history.py`): requests are carried out in turn and answered once, an exit code says what
the log says, a command that ended before another was started comes before it in the log, promotions follow
one after the other, nothing unwanted went live, and no scheduled run was planned while the daemon was paused.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from state.records import Event
from tests.support import forked_commands
from tests.support.daemons import PATIENCE_S, Served, served
from tests.support.decisions import newly_unwanted
from tests.support.forks import end_processes_that_log_in
from tests.support.proof import check_live
from tests.support.replay import check
from tests.support.serial_history import Asked, broken_promises, violations

SUBJECTS = ("Blue House", "Red Boat", "Old Mill")
COMMANDS = (
    *("sync", "sync", "rollback", "approve", "approve", "approve", "retract", "pause", "resume", "resume"),
    "release",
)
KILLED = 0.25
"""Share of the steps at which somebody is killed: the command, or the daemon."""
HELD = 0.3
"""Share of the steps from which on no build ends, or from which on they end again."""
REVIEWED = "\n[review]\nrelations = ['crm:owner']\n"
"""Half of the schedules are those of a home in which every candidate waits for a reviewer."""
LONGEST_S = 0.25
"""Between two steps."""


@dataclass
class Command:
    """A command of a schedule while it runs."""

    word: str
    reason: str
    process: BaseProcess
    after: tuple[str, ...]


@dataclass
class Operators:
    """One schedule at work on a world of its own."""

    world: Served
    chance: random.Random
    commands: list[Command] = field(default_factory=list)
    daemons: list[BaseProcess] = field(default_factory=list)

    def start(self, *words: str) -> BaseProcess:
        root = self.world.root
        return forked_commands.start(self.world.home.root, words, root / "daemon.log", root / "hold")

    def start_daemon(self) -> None:
        self.daemons.append(self.start("run"))

    def step(self, number: int) -> None:
        chance = self.chance
        if chance.random() < 0.5:
            subject, owner = chance.choice(SUBJECTS), chance.choice(["Anna", "Bob", None])
            self.world.say({subject: owner}, name=f"{number:03}")
        if chance.random() < HELD:
            self.let_builds_end() if self.world.hold.exists() else self.world.hold.touch()
        word = chance.choice(COMMANDS)
        reason = "" if word in ("sync", "resume") else f"step {number}"
        if (words := self.words(word, reason)) is not None:
            over = tuple(
                one.reason for one in self.commands if one.reason and one.process.exitcode not in (None, -9)
            )
            self.commands.append(Command(word, reason, self.start(*words), over))
        time.sleep(chance.uniform(0, LONGEST_S))
        if self.commands and chance.random() < KILLED:
            if chance.random() < 0.5:
                chance.choice(self.commands).process.kill()
            else:
                self.daemons[-1].kill()
                self.daemons[-1].join()
                self.start_daemon()

    def words(self, word: str, reason: str) -> list[str] | None:
        """The words of a command that makes sense now; None where there is nothing to do it to."""
        why = ["--reason", reason]
        with closing(self.world.ledger()) as state, state.read() as tx:
            wanted = [str(fact.id) for fact in tx.wanted()]
            waiting = [str(run.id) for run in tx.runs(state="awaiting_review")]
            blocked = [str(one.id) for one in tx.checkpoints() if one.blocked]
        match word:
            case "sync" | "resume":
                return [word]
            case "rollback" | "pause":
                return [word, *why]
            case "approve" if waiting:
                return ["review", "approve", self.chance.choice(waiting), *why]
            case "retract" if wanted:
                return ["retract", self.chance.choice(wanted), *why]
            case "release" if blocked:
                return ["checkpoints", "release", self.chance.choice(blocked), *why]
        return None

    def everything_is_answered(self) -> bool:
        """Whether the daemon leads and no request is open.

        A command that led answers its own request only, and leaves those of leaders that died to the daemon.  A daemon
        that waited too long for a command to end exits with 75; the service manager starts it again.
        """
        if self.daemons[-1].exitcode == 75:
            self.start_daemon()
        leader = (self.world.home.root / ".lock").read_text(encoding="utf-8")
        with closing(self.world.ledger()) as state, state.read() as tx:
            return f"process {self.daemons[-1].pid})" in leader and not tx.open_requests()

    def let_builds_end(self) -> None:
        self.world.hold.unlink(missing_ok=True)

    def finish(self) -> None:
        """Everything that was asked comes to its end, and the daemon still works."""
        self.let_builds_end()
        for one in self.commands:
            one.process.join(PATIENCE_S)
            assert one.process.exitcode in (0, 1, 2, 10, 75, -9), (one.word, one.process.exitcode)
        for words, codes in ((["resume"], (0,)), (["sync"], (0, 10))):
            last = self.start(*words)
            last.join(PATIENCE_S)
            assert last.exitcode in codes, words
        self.world.until(self.everything_is_answered)
        self.daemons[-1].terminate()
        self.daemons[-1].join(PATIENCE_S)
        assert self.daemons[-1].exitcode == 0

    def end(self) -> None:
        """Kill whatever still lives."""
        for process in [*self.daemons, *(one.process for one in self.commands)]:
            process.kill()
            process.join()
        end_processes_that_log_in(self.world.root)
        shutil.rmtree(self.world.root)


def verify(world: Served, commands: list[Command]) -> None:
    with closing(world.ledger()) as state:
        check(state)
        assert newly_unwanted(state) == []
        check_live(world.home, state)
        with state.read() as tx:
            requests, events = tx.requests(limit=1_000), tx.events()
    assert {request.state for request in requests} <= {"done", "refused"}, "each is answered"
    assert violations(events) == []
    asked = [Asked(one.word, one.reason, one.process.exitcode, one.after) for one in commands]
    assert broken_promises(asked, events) == []


def trial(template: Served, root: Path, seed: int, steps: int) -> None:
    shutil.copytree(template.root, root, symlinks=True)
    world = Served(root)
    chance = random.Random(seed)
    text = template.home.config.read_text(encoding="utf-8").replace(str(template.root), str(root))
    text += chance.choice(("", REVIEWED))
    world.home.config.write_text(text, encoding="utf-8")
    (root / "daemon.log").touch()
    operators = Operators(world, chance)
    try:
        operators.start_daemon()
        world.until(lambda: "daemon.started" in (root / "daemon.log").read_text(encoding="utf-8"))
        for number in range(steps):
            operators.step(number)
        operators.finish()
        verify(world, operators.commands)
    except BaseException:
        print((root / "daemon.log").read_text(encoding="utf-8")[-5_000:])
        raise
    finally:
        operators.end()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A world with two checkpoints that were live, and a schedule that is never long quiet."""
    world = served(tmp_path_factory.mktemp("operators") / "world", extra="[schedule]\nsync = '1s'\n")
    for owner in ("Anna", "Bob"):
        world.promote({"Blue House": owner})
    yield world
    world.end()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_schedule_of_commands_and_kills_could_have_happened_one_after_the_other(
    seed: int, template: Served, tmp_path: Path
) -> None:
    trial(template, tmp_path / "world", seed, 8)


SLOW, THOROUGH = range(3, 43), range(43, 503)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "seed",
    [
        *(pytest.param(seed, marks=pytest.mark.slow) for seed in SLOW),
        *(pytest.param(seed, marks=pytest.mark.thorough) for seed in THOROUGH),
    ],
)
def test_five_hundred_schedules_could_have_happened_one_after_the_other(
    seed: int, template: Served, tmp_path: Path
) -> None:
    trial(template, tmp_path / "world", seed, 10)


def log(*events: tuple[str, dict[str, object]]) -> list[Event]:
    """Events one after the other, as far as a reader of the log looks at them."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        Event(seq, at, kind, "ada", None, None, json.dumps(body), "", "")
        for seq, (kind, body) in enumerate(events, start=1)
    ]


def request(what: str, number: int, action: str = "rollback") -> tuple[str, dict[str, object]]:
    return f"request.{what}", {"request": number, "action": action, "reason": f"reason {number}"}


def promotion(checkpoint: int, previous: int | None, reason: str = "") -> tuple[str, dict[str, object]]:
    return "checkpoint.promoted", {"checkpoint": checkpoint, "previous": previous, "reason": reason}


PLANNED: tuple[str, dict[str, object]] = ("run.planned", {"trigger": "schedule"})
PAUSED: tuple[str, dict[str, object]] = ("daemon.paused", {"reason": "an audit"})
LEADS: tuple[str, dict[str, object]] = ("lease.acquired", {})


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([request("working", 1), request("working", 2)], "beside"),
        ([request("working", 1)], "for ever"),
        ([request("done", 1)], "nobody had in hand"),
        ([promotion(1, None), promotion(2, 3)], "but 1 is live"),
        ([promotion(1, None, "rollback: wrong")], "a rollback that nobody"),
        ([request("working", 1), *[promotion(1, n, "rollback: x") for n in (None, 1)]], "once more"),
        ([PAUSED, request("working", 1), request("done", 1), PLANNED], "while the daemon is paused"),
        ([PAUSED, LEADS, PLANNED], "while the daemon is paused"),
        ([("run.planned", {"trigger": "kbsync sync"})], "which nobody has in hand"),
        ([("run.staged", {"from": "awaiting_review"})], "nobody approved"),
    ],
)
def test_a_log_that_could_not_have_happened_in_turn_is_found(
    events: list[tuple[str, dict[str, object]]], found: str
) -> None:
    assert any(found in one for one in violations(log(*events)))


def test_a_cycle_that_a_pause_finds_at_work_may_plan_again() -> None:
    assert violations(log(LEADS, PAUSED, PLANNED, PLANNED)) == []


def test_a_request_that_its_dead_leader_had_in_hand_is_begun_again() -> None:
    events = [request("working", 1), LEADS, request("working", 1), promotion(1, None, "rollback: x")]
    assert violations(log(*events, request("done", 1))) == []


def test_a_command_comes_in_the_log_after_those_that_had_ended_before_it() -> None:
    first, second = Asked("rollback", "reason 1", 0, ()), Asked("rollback", "reason 2", 0, ("reason 1",))
    asked = [request("asked", 1), request("asked", 2)]
    turns = [[request("working", number), request("done", number)] for number in (1, 2)]
    assert broken_promises([first, second], log(*asked, *turns[0], *turns[1])) == []
    (found,) = broken_promises([first, second], log(*asked, *turns[1], *turns[0]))
    assert "begun before reason 1 had ended" in found
    (found,) = broken_promises(
        [first], log(request("asked", 1), request("working", 1), request("refused", 1))
    )
    assert "exited with 0" in found
