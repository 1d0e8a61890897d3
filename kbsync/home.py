"""The home directory: its paths, and the lock that prevents two daemons from sharing it."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from editing.durable import LOCK, file_lock, sweep, write_file, writing
from kbsync.errors import BadConfiguration, TryLater


class HomeInUse(TryLater):
    """Another process holds the home's lock."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The directory in which a worker reads its spec and writes its report, for one round of a run or a question."""

    path: Path

    @property
    def spec(self) -> Path:
        return self.path / "spec.json"

    @property
    def report(self) -> Path:
        return self.path / "report.json"

    @property
    def recipe(self) -> Path:
        """What the spec's candidate is built with besides its facts (`kbsync/recipe.py`)."""
        return self.path / "recipe.json"

    @property
    def gate_commands(self) -> Path:
        """What the operator's gate commands measured of the candidate."""
        return self.path / "gate_commands.json"

    @property
    def judge(self) -> Path:
        """What a judge model was asked about the candidate's answers, and what it answered."""
        return self.path / "judge.json"

    @property
    def wanted(self) -> Path:
        """Everything that was wanted when the candidate was planned, for its retrieval pack."""
        return self.path / "wanted.jsonl"

    @property
    def progress(self) -> Path:
        """How far the worker is, while it is at work; for the review pages."""
        return self.path / "progress.json"

    @property
    def secret_questions(self) -> Path:
        """What the round's candidate is asked besides, which no report shows."""
        return self.path / "secret_questions.json"

    @property
    def secret_answers(self) -> Path:
        """What the candidate, live and the base answered to them."""
        return self.path / "secret_answers.json"

    @property
    def secret_checks(self) -> Path:
        """How many times servers were checked with these answers."""
        return self.path / "secret_checks.json"

    def prepare(self) -> RunDirectory:
        """Create the directory."""
        self.path.mkdir(parents=True, exist_ok=True)
        return self


PRIVATE = 0o600
"""Mode of files that contain settings, facts or libraries' output: only their owner may access them."""


def _prepare_all(root: Path, directories: Iterable[Path]) -> None:
    """Create `root` and `directories`; raises OSError also if no file can be made in `root`."""
    for directory in (root, *directories):
        directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=root):
        pass  # the file has no name, so a killed process leaves none behind


@dataclass(frozen=True, slots=True)
class Home:
    """Paths below `--home`; the section "On disk" of docs/architecture.md describes them."""

    root: Path
    shared: Path | None = None
    """Where the imported bases and the cache are, if other homes use them too ([model] shared)."""

    @property
    def config(self) -> Path:
        return self.root / "kbsync.toml"

    @property
    def database(self) -> Path:
        return self.root / "kbsync.db"

    @property
    def calibration(self) -> Path:
        """Settings, reports and figures that `kbsync calibrate` wrote."""
        return self.root / "calibration"

    @property
    def base(self) -> Path:
        return (self.shared or self.root) / "base"

    @property
    def imported_base(self) -> Path:
        """Which base was imported last, and the state of its files then."""
        return self.root / "base" / "imported.json"

    @property
    def cache(self) -> Path:
        return (self.shared or self.root) / "cache"

    @property
    def deltas(self) -> Path:
        """The optimised residuals, a file for each key group."""
        return self.cache / "deltas"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def as_of(self) -> Path:
        """Checkpoints of earlier dates (`kbsync build --as-of`); no run, and nothing of the ledger, refers to them."""
        return self.root / "as-of"

    @property
    def live(self) -> Path:
        return self.checkpoints / "live"

    @property
    def forgotten(self) -> Path:
        """What the ledger's table `forgotten` has, for a restore from a backup that was made before."""
        return self.root / "forgotten.json"

    @property
    def retention(self) -> Path:
        """When the retention policy was applied last."""
        return self.root / "retention.json"

    @property
    def archive(self) -> Path:
        """Events that were moved out of the ledger; part of the ledger, as its database is."""
        return self.root / "archive"

    @property
    def keys(self) -> Path:
        """Private halves of signing keys."""
        return self.root / "keys"

    @property
    def model_keys(self) -> Path:
        """Private halves of the keys that sign versions of the model."""
        return self.keys / "models"

    @property
    def secret(self) -> Path:
        """What decides which questions servers are asked after a deploy."""
        return self.keys / "questions.secret"

    @property
    def witnesses(self) -> Path:
        """The heads that witnesses with an address have cosigned, a file each."""
        return self.root / "witnesses"

    @property
    def witnessed(self) -> Path:
        """The newest heads of other logs that this kbsync has cosigned, a file each."""
        return self.root / "witnessed"

    @property
    def worker_log(self) -> Path:
        """The stderr of all workers."""
        return self.runs / "worker.log"

    def webhook(self, name: str) -> Path:
        """How far the receiver of notifications with this name is in the log."""
        return self.root / "webhooks" / f"{name}.json"

    def checkpoint(self, name: str) -> Path:
        """The directory of a checkpoint, given its name in the ledger."""
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

    def built_in(self, run_id: int, checkpoint: str) -> RunDirectory:
        """The round of `run_id` that built the checkpoint with this name."""
        return self.round(run_id, int(checkpoint.rpartition("-")[2]))

    def questions(self, name: str) -> RunDirectory:
        """Spec and report of questions outside any run: `ask` (what the base knows), `probes` (which probes it
        answers), `said` (answers to prompts), `plan` (a forecast)."""
        return RunDirectory(self.runs / name)

    def prepare(self) -> Home:
        """Create the directories; raises BadConfiguration if the home cannot be written."""
        try:
            if not self.root.exists():  # an existing home keeps its mode: a service manager may have set it
                self.root.parent.mkdir(parents=True, exist_ok=True)
                self.root.mkdir(mode=0o700, exist_ok=True)
            _prepare_all(self.root, (self.imported_base.parent, self.runs, self.checkpoints))
            if self.shared is None:
                self.cache.mkdir(exist_ok=True)
        except OSError as error:
            raise BadConfiguration(
                f"the home {self.root} cannot be written: {error.strerror or error}",
                "choose another directory with --home or KBSYNC_HOME, or change its owner or mode",
            ) from error
        if self.shared is None:
            return self
        try:
            _prepare_all(self.shared, (self.base, self.cache))
        except OSError as error:
            raise BadConfiguration(
                f"[model] shared: {self.shared} cannot be written: {error.strerror or error}",
                "name a directory that every home's user may write, or change its owner or mode",
            ) from error
        return self

    def sweep_storage(self) -> tuple[str, ...]:
        """Remove unfinished files of bases and cache; returns their names.

        In a shared directory other processes may be writing them: there `locked` does it, when no other home is at
        work.
        """
        return tuple(self._swept()) if self.shared is None else ()

    def _swept(self) -> Iterator[str]:
        if self.base.is_dir():
            with file_lock(self.base / LOCK, wait=False) as held:  # an import may be under way
                yield from sweep(self.base) if held else ()
        yield from sweep(self.cache)
        for child in self.cache.iterdir() if self.cache.is_dir() else ():
            if child.is_dir():
                yield from sweep(child)

    @contextmanager
    def _using_shared(self) -> Iterator[None]:
        """Hold the shared directory's lock together with the other homes that are at work.

        A process that finds no other removes what killed ones left unfinished.  The lock is then given up for a moment
        before it is held together with others (flock(2)); nothing of ours is being written yet.
        """
        if self.shared is None:
            yield
            return
        path = self.shared / LOCK
        with writing(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                list(self._swept())
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            yield
        finally:
            os.close(descriptor)

    def prepare_database(self) -> None:
        """Create an empty file for SQLite that only its owner may access; its journal files inherit the mode.

        A file that exists is not even opened: closing it would drop every POSIX lock that this process has on it, and
        with them what tells another process that the write-ahead log is in use ("How To Corrupt An SQLite Database
        File", section 2.2).
        """
        with suppress(FileExistsError):
            os.close(os.open(self.database, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE))

    def identity(self) -> str:
        """This home's name as a leader, created once, so that a restart after a crash continues as the same leader.

        Call it while holding the home's lock.
        """
        path, here = self.root / ".identity", f"{socket.gethostname()}:{self.root}#"
        name = path.read_text(encoding="utf-8").strip() if path.exists() else ""
        if not name.startswith(here):  # a copied home is a different leader
            name = here + secrets.token_hex(4)
            write_file(path, f"{name}\n".encode())
        return name

    @contextmanager
    def locked(self, purpose: str) -> Iterator[None]:
        """Hold the home's advisory lock.

        Raises HomeInUse, which names the holder, if another process has it, and StorageError if the disk is full.

        The kernel releases the lock when the process ends, so a killed daemon leaves no lock behind.
        """
        path = self.root / ".lock"
        with writing(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
                raise HomeInUse(
                    f"the home {self.root} is in use by {holder or 'another process'}",
                    "wait for it to end, or stop it",
                ) from error
            with writing(path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{purpose} (process {os.getpid()})".encode(), 0)
            try:
                with self._using_shared():
                    yield
            finally:
                os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)
