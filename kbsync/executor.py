"""Run builds in worker processes: by default a subprocess `python -m editing.worker` on this machine.

A worker runs for all rounds of one run, so that the model is loaded only once.  It is supervised: workers
that are killed, out of memory, hung or of the wrong version are distinguished, retried a bounded number
of times if that can help, and otherwise fail the run with the reason.  What a killed worker has finished
is in the cache under content keys, so a retry resumes its work.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, get_args

import structlog

from editing.crashpoints import VARIABLE
from editing.errors import EditingError, FailureKind
from editing.progress import TimedProgress, silent
from editing.spec import SPEC_VERSION, BuildReport
from kbsync import telemetry
from kbsync.announced import Announced, ModelToImport, message_of
from kbsync.environments import COMPUTE_PREFIXES, minimal
from kbsync.errors import KbsyncError

log = structlog.get_logger()

WORKER = (sys.executable, "-m", "editing.worker")

UNUSED_TIMEOUT_S = 2.0
"""How long a worker that was never given a spec may take to end at SIGTERM."""

LOG = Path("runs", "worker.log")
"""The file below the home to which a worker's own output goes."""


class WorkerFailed(KbsyncError):
    """The worker did not deliver a report; `retry` says whether another attempt at the same spec may succeed.

    `log` is the file with the worker's own output; the advice names it.
    """

    def __init__(self, kind: FailureKind, message: str, *, retry: bool, log: Path = LOG) -> None:
        super().__init__(message, f"the worker's own output is in {log}")
        self.kind = kind
        self.retry = retry


class Stopping(KbsyncError):
    """The daemon was asked to stop while a worker was running; the run resumes at the next start."""

    exit_code = 75


class Worker(Protocol):
    """A process with a loaded model that executes specs."""

    @property
    def name(self) -> str:
        """Executor, host and process, for the record of attempts."""
        ...

    def prepare(self, base: Announced | None) -> None:
        """Announce a spec: start the worker in the background, and load `base`, or import it, if it is known.

        Returns at once and raises nothing: what goes wrong is found, and counted, by `execute`.
        """
        ...

    def import_base(self, model: ModelToImport) -> str | None:
        """The digest of the base that the worker imported from `model`, whether or not it was announced.

        None if it could not: whoever imports it then meets the reason.  Raises Stopping.
        """
        ...

    def execute(self, spec: Path, progress: TimedProgress = silent) -> BuildReport:
        """The report for `spec`, tried once; raises WorkerFailed or Stopping.

        After a failure the next call starts a new worker; what the failed one has finished is in the cache.
        """
        ...


class Executor(Protocol):
    """Starts workers, on this machine or through a cluster engine."""

    def worker(self, log_file: Path) -> AbstractContextManager[Worker]:
        """A worker that is stopped when the block is left."""
        ...


@dataclass(frozen=True, slots=True)
class LocalExecutor:
    """Workers as subprocesses of this machine."""

    command: tuple[str, ...] = WORKER
    environment: tuple[str, ...] = ()
    """Variables of this process that are passed to a worker, besides `BASIC` and `COMPUTE_PREFIXES`."""
    prefixes: tuple[str, ...] = ()
    """How further ones begin."""
    heartbeat_timeout_s: float = 120.0
    """A worker without a sign of life for longer counts as hung."""
    stop_timeout_s: float = 20.0
    stopping: threading.Event | None = None
    """Set by the daemon's SIGTERM: the worker is stopped, and Stopping is raised."""
    alive: Callable[[], None] = lambda: None
    """Called at every sign of life from a worker: the daemon renews its lease and notifies its watchdog."""
    idle: Callable[[], None] = lambda: None
    """Called several times per second while waiting for a worker.

    If `alive` or `idle` raises, the worker is killed; what it has finished is in the cache.
    """

    @contextmanager
    def worker(self, log_file: Path) -> Iterator[Worker]:
        worker = LocalWorker(self, log_file)
        try:
            yield worker
        finally:
            worker.stop()


class LocalWorker:
    """A supervised `editing.worker` process, started when a spec is announced or given, and again after a failure."""

    def __init__(self, settings: LocalExecutor, log_file: Path) -> None:
        self._settings = settings
        self._log_file = log_file
        self._process: subprocess.Popen[str] | None = None
        self._used = False
        """The process has been given a spec."""
        self._importing: ModelToImport | None = None
        """What the process was last asked to import."""
        self._lines: queue.Queue[str | None] = queue.Queue()

    @property
    def name(self) -> str:
        pid = self._process.pid if self._process is not None else "not started"
        return f"local:{socket.gethostname()}:{pid}"

    def prepare(self, base: Announced | None) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        with suppress(OSError):
            self._announce(self._begin(), base)

    def _announce(self, process: subprocess.Popen[str], base: Announced | None) -> None:
        self._importing = base if isinstance(base, ModelToImport) else None
        self._send(process, message_of(base))

    def import_base(self, model: ModelToImport) -> str | None:
        try:
            with self._supervised():
                process = self._running()
                if self._importing != model:
                    self._announce(process, model)
                while (event := self._next_event(process)).get("event") != "imported":
                    pass
        except (WorkerFailed, BrokenPipeError) as failure:
            log.warning("base.not_imported_by_worker", reason=str(failure))
            return None
        self._importing = None
        return str(event["digest"]) if event.get("digest") else None

    def execute(self, spec: Path, progress: TimedProgress = silent) -> BuildReport:
        with self._supervised(), telemetry.phases(progress) as noted:
            return self._execute(spec, noted)

    @contextmanager
    def _supervised(self) -> Iterator[None]:
        """End the process if waiting for it fails or is interrupted."""
        try:
            yield
        except (WorkerFailed, Stopping):
            self.stop()
            raise
        except Exception:
            # `alive` or `idle` interrupted the wait and must not be delayed; SIGKILL cannot harm finished work.
            if self._process is not None:
                self._process.kill()
            self.stop()
            raise

    def _execute(self, spec: Path, progress: TimedProgress) -> BuildReport:
        process = self._running()
        try:
            self._send(process, {"spec": str(spec)})
        except BrokenPipeError:
            raise self._death(process) from None
        while True:
            event = self._next_event(process)
            kind = event.get("event")
            if kind == "progress":
                progress(event["phase"], event["done"], event["total"], event.get("eta_s"))
            elif kind == "log":
                log.info("worker", **{k: v for k, v in event.items() if k != "event"})
            elif kind == "report":
                return self._read_report(Path(event["path"]))
            elif kind == "error":
                named: FailureKind = event["kind"] if event["kind"] in get_args(FailureKind) else "internal"
                raise self._failure(named, event["message"], retry=bool(event["retry"]))

    def _running(self) -> subprocess.Popen[str]:
        """The process, which has greeted; raises WorkerFailed, Stopping."""
        process = self._process
        if process is None or process.poll() is not None:
            try:
                process = self._begin()
            except OSError as error:
                raise self._failure("internal", f"no worker could be started: {error}", retry=True) from error
        if self._used:
            return process
        self._used = True
        ready = self._next_event(process)
        if ready.get("event") != "ready" or ready.get("version") != SPEC_VERSION:
            raise self._failure(
                "wrong_version",
                f"the worker speaks spec version {ready.get('version')}, this daemon {SPEC_VERSION}: "
                "install one version of kbsync on both sides",
                retry=False,
            )
        return process

    def _send(self, process: subprocess.Popen[str], message: Mapping[str, object]) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()

    def _begin(self) -> subprocess.Popen[str]:
        process = self._process = self._start()
        self._used, self._importing = False, None
        self._lines = queue.Queue()
        assert process.stdout is not None
        threading.Thread(target=_pump, args=(process.stdout, self._lines), daemon=True).start()
        return process

    def _start(self) -> subprocess.Popen[str]:
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with open(self._log_file, "ab", opener=_private) as stderr:
            return subprocess.Popen(
                self._settings.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                # A worker must not see the ledger's password or the servers' tokens.
                env={
                    **minimal(
                        named=(VARIABLE, *self._settings.environment),
                        prefixes=(*COMPUTE_PREFIXES, *self._settings.prefixes),
                    ),
                    **telemetry.environment(),
                },
                text=True,
                encoding="utf-8",
                # Ctrl-C is sent to the whole process group; `stop` ends the worker instead, after its safe point.
                start_new_session=True,
            )

    def _next_event(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """The next event from the worker; raises if it is hung or dead, or if the daemon is stopping."""
        deadline = time.monotonic() + self._settings.heartbeat_timeout_s
        while True:
            if self._settings.stopping is not None and self._settings.stopping.is_set():
                raise Stopping("stopped while a build was running", "it resumes at the next start")
            try:
                line = self._lines.get(timeout=0.2)
            except queue.Empty:
                self._settings.idle()
                if time.monotonic() > deadline:
                    seconds = self._settings.heartbeat_timeout_s
                    process.kill()
                    raise self._failure(
                        "hung", f"the worker gave no sign of life for {seconds:.0f} s", retry=True
                    ) from None
                continue
            if line is None:
                raise self._death(process)
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                log.warning("worker.unreadable_line", line=line.rstrip()[:200])
                continue
            if isinstance(event, dict):
                self._settings.alive()
                return event

    def _death(self, process: subprocess.Popen[str]) -> WorkerFailed:
        code = process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            hint = " (the kernel does that when memory runs out)" if -code == signal.SIGKILL else ""
            return self._failure("killed", f"the worker was killed by {name}{hint}", retry=True)
        return self._failure("internal", f"the worker ended with exit code {code}", retry=code not in (2, 78))

    def _read_report(self, path: Path) -> BuildReport:
        try:
            return BuildReport.read(path)
        except EditingError as error:
            raise self._failure("data", f"the worker's report cannot be used: {error}", retry=True) from error

    def _failure(self, kind: FailureKind, message: str, *, retry: bool) -> WorkerFailed:
        return WorkerFailed(kind, message, retry=retry, log=self._log_file)

    def stop(self) -> None:
        """End the process: SIGTERM, then SIGKILL if it has not ended in time.

        One that was never given a spec has nothing to finish, and must not delay the end of the cycle.
        """
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(self._settings.stop_timeout_s if self._used else UNUSED_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _private(path: str, flags: int) -> int:
    """An opener for files that only their owner may read, because libraries' output may quote facts."""
    return os.open(path, flags, mode=0o600)


def _pump(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    """Move the worker's lines into a queue; None marks the end of the stream."""
    for line in stream:
        lines.put(line)
    lines.put(None)
