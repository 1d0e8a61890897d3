"""A real daemon and real commands in processes of their own, with a scripted worker.

The daemon is `kbsync run` as a service manager starts it.  Builds cost nothing, and a test decides with a
file how long one takes (`scripted_process.py`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kbsync.service.cycle import cycle
from state import State
from tests.support.micro import Micro, make
from tests.support.paths import REPOSITORY
from tests.support.scripted import Scripted

PATIENCE_S = 120.0
"""How long another process may take on a busy machine before a test gives up."""


@dataclass
class Served(Micro):
    """A micro world whose daemon and commands are processes; they read the wall's clock."""

    processes: list[subprocess.Popen[str]] = field(default_factory=list)

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

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Any `kbsync` command, in the background."""
        command = [sys.executable, "-m", "kbsync", "--home", str(self.home.root), *arguments]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "USER": "ada"}
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.processes.append(process)
        return process

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command, to its end."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=PATIENCE_S)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    @contextmanager
    def daemon(self) -> Iterator[subprocess.Popen[str]]:
        """A daemon that leads; ended by SIGTERM where the block has not killed it."""
        process = self.background_daemon()
        try:
            self.until(lambda: "daemon.started" in (self.root / "daemon.log").read_text(encoding="utf-8"))
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)

    def background_daemon(self) -> subprocess.Popen[str]:
        """A daemon that is ended by whoever started it, or by `end`."""
        with (self.root / "daemon.log").open("a", encoding="utf-8") as log:
            command = [sys.executable, "-m", "kbsync", "--home", str(self.home.root), "run"]
            environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
            process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=log, text=True)
        self.processes.append(process)
        return process

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until another process has brought it about; what the condition gave."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := condition()):
            assert time.monotonic() < deadline, (self.root / "daemon.log").read_text(encoding="utf-8")[-2000:]
            time.sleep(0.05)
        return found

    def end(self) -> None:
        """Kill whatever still lives."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def served(root: Path, *, extra: str = "") -> Served:
    """A world with an imported base and migrated ledger, whose worker is the scripted one."""
    made = make(root, thresholds={}, extra=f"[gates.weight_growth]\nthreshold = 9.0\n\n{extra}")
    world = Served(made.root, made.now)
    command = [sys.executable, "-m", "tests.support.scripted_process", str(world.hold)]
    text = world.home.config.read_text(encoding="utf-8")
    text = text.replace("[executor]\n", f"[executor]\ncommand = {command}\n")
    text = text.replace("[plan]\n", "[plan]\nmin_pending = 1\n")
    text = text.replace("level = 'error'", "level = 'info'")
    world.home.config.write_text(text, encoding="utf-8")
    with world.application() as app:
        assert app.base.digest
        app.state.migrate()
    return world
