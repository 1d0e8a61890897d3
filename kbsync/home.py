"""The home directory: where everything lies, and the lock that keeps two daemons from sharing it."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from editing.durable import write_file
from kbsync.errors import BadConfiguration, TryLater


class HomeInUse(TryLater):
    """Another process holds the home's lock."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Where a worker finds what it is asked and leaves its answer: one round of a run, or a question."""

    path: Path

    @property
    def spec(self) -> Path:
        return self.path / "spec.json"

    @property
    def report(self) -> Path:
        return self.path / "report.json"

    @property
    def recipe(self) -> Path:
        """What the spec's candidate is built with besides its facts (`runs/recipe.py`)."""
        return self.path / "recipe.json"

    def prepare(self) -> RunDirectory:
        """Create the directory."""
        self.path.mkdir(parents=True, exist_ok=True)
        return self


PRIVATE = 0o600
"""Mode of files that hold settings, facts or what libraries print: for their owner alone."""


@dataclass(frozen=True, slots=True)
class Home:
    """Paths below `--home`, as design.md's section "On disk" draws them."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "kbsync.toml"

    @property
    def database(self) -> Path:
        return self.root / "kbsync.db"

    @property
    def base(self) -> Path:
        return self.root / "base"

    @property
    def imported_base(self) -> Path:
        """Which base was imported last, and how its files looked."""
        return self.base / "imported.json"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def live(self) -> Path:
        return self.checkpoints / "live"

    @property
    def worker_log(self) -> Path:
        """Stderr of every worker."""
        return self.runs / "worker.log"

    def checkpoint(self, name: str) -> Path:
        """The directory of a checkpoint, by the name that the ledger has for it."""
        return self.checkpoints / name

    def run(self, run_id: int) -> Path:
        return self.runs / str(run_id)

    def highest_run(self) -> int:
        """The highest number of a run that has left a file here, whether or not the ledger knows it."""
        names = [
            path.name for place in (self.runs, self.checkpoints) if place.is_dir() for path in place.iterdir()
        ]
        numbers = [name.partition("-")[0] for name in names]
        return max((int(number) for number in numbers if number.isascii() and number.isdigit()), default=0)

    def round(self, run_id: int, number: int) -> RunDirectory:
        """Spec and report of one round of a run."""
        return RunDirectory(self.run(run_id) / f"round-{number}")

    def questions(self, name: str) -> RunDirectory:
        """Spec and report of what is asked outside any run: `ask` (the base's answers), `plan` (a forecast)."""
        return RunDirectory(self.runs / name)

    def prepare(self) -> Home:
        """Create the tree; raises BadConfiguration where the home cannot be written."""
        try:
            if not self.root.exists():  # what exists keeps its mode: a service manager may have chosen it
                self.root.parent.mkdir(parents=True, exist_ok=True)
                self.root.mkdir(mode=0o700, exist_ok=True)
            for directory in (self.root, self.base, self.cache, self.runs, self.checkpoints):
                directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass  # it has no name, so a killed process leaves none behind
        except OSError as error:
            raise BadConfiguration(
                f"the home {self.root} cannot be written: {error.strerror or error}",
                "choose another directory with --home or KBSYNC_HOME, or change its owner or mode",
            ) from error
        return self

    def prepare_database(self) -> None:
        """An empty file for SQLite with its owner's mode, which its journal files inherit."""
        os.close(os.open(self.database, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, PRIVATE))

    def identity(self) -> str:
        """This home's name as a leader, made once: a restart after a crash is the same leader's next life.

        Call it under the home's lock.
        """
        path, here = self.root / ".identity", f"{socket.gethostname()}:{self.root}#"
        name = path.read_text(encoding="utf-8").strip() if path.exists() else ""
        if not name.startswith(here):  # a copy of a home elsewhere is another home
            name = here + secrets.token_hex(4)
            write_file(path, f"{name}\n".encode())
        return name

    @contextmanager
    def locked(self, purpose: str) -> Iterator[None]:
        """Hold the home's advisory lock; raises HomeInUse naming the holder if another process has it.

        The kernel drops the lock with the process, so a killed daemon leaves nothing behind.
        """
        path = self.root / ".lock"
        with path.open("a+", encoding="utf-8") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                handle.seek(0)
                holder = handle.read().strip() or "another process"
                raise HomeInUse(
                    f"the home {self.root} is in use by {holder}", "wait for it to end, or stop it"
                ) from error
            handle.seek(0)
            handle.truncate()
            handle.write(f"{purpose} (process {os.getpid()})")
            handle.flush()
            try:
                yield
            finally:
                handle.truncate(0)
