"""A real daemon and real commands in processes of their own, with a scripted worker.

The processes are forked from a server that has imported everything (`forked_commands.py`).  Builds cost nothing,
and a test decides with a file how long one takes (`scripted_process.py`).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from kbsync.service.cycle import cycle
from state import State
from tests.support import forked_commands
from tests.support.micro import Micro, make
from tests.support.scripted import Scripted

PATIENCE_S = 120.0
"""How long another process may take on a busy machine before a test gives up."""


@dataclass(frozen=True)
class Command:
    """A command at work, or at its end."""

    process: BaseProcess
    output: Path
    errors: Path

    @property
    def returncode(self) -> int | None:
        """Its exit code (negative: the signal that ended it); None while it runs."""
        return self.process.exitcode

    def wait(self) -> int:
        self.process.join(PATIENCE_S)
        assert self.process.exitcode is not None, "it does not end"
        return self.process.exitcode

    @property
    def stdout(self) -> str:
        return self.output.read_text(encoding="utf-8") if self.output.exists() else ""

    @property
    def stderr(self) -> str:
        return self.errors.read_text(encoding="utf-8") if self.errors.exists() else ""

    def send_signal(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)


@dataclass
class Served(Micro):
    """A micro world whose daemon and commands are processes; they read the wall's clock."""

    processes: list[Command] = field(default_factory=list)

    def clock(self) -> datetime:
        return datetime.now(UTC)

    def promote(self, facts: Mapping[str, str | None]) -> None:
        """One cycle here, without a process."""
        self.say(facts)
        with self.application() as app, app.leading() as leadership:
            cycle(app, leadership, trigger="test", worker=Scripted())

    @property
    def hold(self) -> Path:
        """While this file exists, a build does not end."""
        return self.root / "hold"

    def ledger(self) -> State:
        return State.open(f"sqlite:///{self.home.database}")

    def start(self, *arguments: str) -> Command:
        """Any `kbsync` command, in the background."""
        number = len(self.processes)
        return self._started(arguments, self.root / f"{number}.out", self.root / f"{number}.err")

    def run(self, *arguments: str) -> Command:
        """The command, to its end."""
        command = self.start(*arguments)
        command.wait()
        return command

    @contextmanager
    def daemon(self) -> Iterator[Command]:
        """A daemon that leads; ended by SIGTERM where the block has not killed it."""
        command = self.background_daemon()
        try:
            self.until(lambda: "daemon.started" in command.stderr)
            yield command
        finally:
            if command.returncode is None:
                command.send_signal(signal.SIGTERM)
            command.wait()

    def background_daemon(self) -> Command:
        """A daemon that is ended by whoever started it, or by `end`."""
        log = self.root / "daemon.log"
        return self._started(("run",), log, log)

    def _started(self, words: Sequence[str], output: Path, errors: Path) -> Command:
        process = forked_commands.start(self.home.root, words, output, self.hold, errors=errors)
        self.processes.append(Command(process, output, errors))
        return self.processes[-1]

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until another process has brought it about; what the condition gave."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := condition()):
            assert time.monotonic() < deadline, (self.root / "daemon.log").read_text(encoding="utf-8")[-2000:]
            time.sleep(0.05)
        return found

    def end(self) -> None:
        """Kill whatever still lives."""
        for command in self.processes:
            command.process.kill()
            command.process.join()


def served(root: Path, *, extra: str = "") -> Served:
    """A world with an imported base and migrated ledger, whose worker is the scripted one."""
    made = make(root, thresholds={}, extra=f"[gates.weight_growth]\nthreshold = 9.0\n\n{extra}")
    world = Served(made.root, made.now)
    text = world.home.config.read_text(encoding="utf-8")
    text = text.replace("[plan]\n", "[plan]\nmin_pending = 1\n")
    text = text.replace("level = 'error'", "level = 'info'")
    world.home.config.write_text(text, encoding="utf-8")
    with world.application() as app:
        assert app.base.digest
        app.state.migrate()
    return world
