"""`python -m editing.worker`: builds and judges, in a separate process without access to the ledger.

Reads `{"spec": "<path>/spec.json"}` from stdin, one line per round, and answers with the events of
`protocol.py` on stdout; the output of libraries goes to stderr.  The report is written next to the spec.
`{"load": {"base": "<directory>", "digest": …, "device": …}}` announces a round: torch is imported and the base, if
one is named, loaded.  Nothing answers it, and a failure is left to the round.
`{"import": {"source": "<model>", "root": "<bases>", "architecture": {…}, "device": …}}` imports a base that a round
will name, and loads it.  Its digest is answered as soon as it is known, null if the import failed: the reader imports
it then, and meets the same error.
End of input ends the worker with 0; SIGTERM ends it at the next safe point with 143; both leave finished δs
in the cache and no unfinished directory.
"""

from __future__ import annotations

import ctypes
import gc
import json
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol

from editing.errors import (
    ArchitectureError,
    ClusterError,
    EditingError,
    FailureKind,
    NumericalError,
    OutOfMemory,
    RequestError,
    SpecError,
    Stopped,
)
from editing.settings import EditSettings
from editing.spec import SPEC_VERSION
from editing.undisturbed import undisturbed
from editing.worker.protocol import Channel

PR_SET_PDEATHSIG = 1
STOPPED = 128 + signal.SIGTERM
ALLOCATION_FAILED = (
    "can't allocate memory",
    "Cannot allocate memory",
    "failed to map segment",
    "can't start new thread",  # its stack finds no room
)


class RoundRunner(Protocol):
    """Whoever does the rounds: this process (`Workshop`), or others that it directs (`editing.cluster`)."""

    def round(self, path: Path) -> Path:
        """Do the round whose spec is in `path`; returns the path of its report.  Raises EditingError."""
        ...

    def load(self, directory: Path, digest: str, device: str | None) -> object:
        """Get ready for rounds on the base in `directory`.  Raises EditingError."""
        ...

    def forget(self) -> None:
        """Drop what was loaded: after an error, its state is unknown."""
        ...


def _workshop(channel: Channel) -> RoundRunner:
    from editing.worker.rounds import Workshop  # imports torch

    return Workshop(channel)


def main(make: Callable[[Channel], RoundRunner] = _workshop) -> int:
    """Serve rounds until the input ends; returns the exit code.  `make` is called with the first round."""
    _die_with_parent()
    channel = Channel(_claim_stdout())
    server = RoundServer(channel, make)
    signal.signal(signal.SIGTERM, server.on_sigterm)
    try:
        channel.emit("ready", version=SPEC_VERSION, pid=os.getpid())
        for line in sys.stdin:
            server.serve(line)
    except Stopped:
        return STOPPED
    return 0


class RoundServer:
    """Answers the rounds, one line at a time."""

    def __init__(self, channel: Channel, make: Callable[[Channel], RoundRunner] = _workshop) -> None:
        self.channel = channel
        self._make = make
        self._workshop: RoundRunner | None = None
        self._busy = False

    def on_sigterm(self, *_: object) -> None:
        """Stop at once if idle, and at the next safe point if working."""
        self.channel.stop()
        if not self._busy:
            self.channel.raise_if_stopping()

    def serve(self, line: str) -> None:
        """Do one round and report how it ended, or load what the next one needs.  Raises Stopped."""
        try:
            message = _message(line)
            if "load" in message:
                self._load(**message["load"])
                return
            if "import" in message:
                self._import(**message["import"])
                return
            self._busy = True
            with self.channel.working():
                self.channel.emit("report", path=str(self._round(message["spec"])))
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001
            self._failed(error)  # reported to the daemon, which decides
        finally:
            self._busy = False
        self.channel.raise_if_stopping()

    def _round(self, path: str) -> Path:
        self.channel.progress("start", 0, 1)
        workshop = self._ready()
        self.channel.progress("start", 1, 1)
        return workshop.round(Path(path))

    def _load(self, base: str | None, digest: str, device: str | None) -> None:
        """Get ready for a round; SIGTERM ends this at once, since nothing is written."""
        try:
            workshop = self._ready()
            if base is not None:
                workshop.load(Path(base), digest, device)
                # Libraries and model stay, and take a third of a second to traverse: collections leave them out.
                gc.collect()
                gc.freeze()
        except Stopped:
            raise
        except Exception:  # noqa: BLE001  the round meets the same error, and reports it
            traceback.print_exc()
            if self._workshop is not None:
                self._workshop.forget()
        self.channel.raise_if_stopping()

    def _import(self, source: str, root: str, architecture: Mapping[str, Any], device: str | None) -> None:
        """Import a base, say which one it is, and load it; SIGTERM ends this at once, and no part of it stays."""
        imported = None
        try:
            # Copying the weights reports no progress, and takes as long as the disk needs.
            with self.channel.working(patience=math.inf):
                self._ready()
                from editing.model.architectures import described
                from editing.model.loading import editable_tensors
                from editing.storage.checkpoints import import_base

                with undisturbed():
                    editable = editable_tensors(Path(source), described(EditSettings(**architecture)))
                imported = import_base(Path(source), Path(root), editable)
        except Stopped:
            raise
        except Exception:  # noqa: BLE001  whoever asked for it meets the same error
            traceback.print_exc()
        self.channel.emit("imported", digest=imported and imported[0])
        if imported is not None:
            self._load(str(imported[1]), imported[0], device)

    def _ready(self) -> RoundRunner:
        if self._workshop is None:
            # torch and transformers are hundreds of thousands of objects, all of which stay.
            with undisturbed():
                self._workshop = self._make(self.channel)
        return self._workshop

    def _failed(self, error: Exception) -> None:
        traceback.print_exception(error)
        kind, retry = classify(error)
        if self._workshop is not None and kind in ("out_of_memory", "internal"):
            self._workshop.forget()
        message = str(error) if isinstance(error, EditingError) else f"{type(error).__name__}: {error}"
        self.channel.emit("error", kind=kind, message=message, retry=retry)


def _message(line: str) -> dict[str, Any]:
    """One line of the input; raises SpecError."""
    try:
        message = json.loads(line)
        kind = next((kind for kind in ("load", "import") if kind in message), "spec")
        if isinstance(message[kind], str if kind == "spec" else dict):
            return dict(message)
    except (ValueError, KeyError, TypeError):
        pass
    raise SpecError(f"expected {{'spec': PATH}}, found {line.strip()!r:.100}")


def classify(error: Exception) -> tuple[FailureKind, bool]:
    """The protocol's name for an error, and whether the same spec may succeed another time."""
    if isinstance(error, SpecError | RequestError | ArchitectureError):
        return "bad_spec", False
    if isinstance(error, OutOfMemory | MemoryError) or _failed_allocation(error):
        return "out_of_memory", True
    if isinstance(error, NumericalError):
        return "internal", False
    if isinstance(error, ClusterError):
        return "internal", True
    if isinstance(error, EditingError):
        return "data", False
    return "internal", True


def _failed_allocation(error: Exception) -> bool:
    """Whether `error` is a failed allocation, by its message: memory can run out while torch is being imported."""
    message = str(error)
    return type(error).__name__ == "OutOfMemoryError" or any(sign in message for sign in ALLOCATION_FAILED)


def _die_with_parent() -> None:
    """Let the kernel kill this process when its parent dies (Linux; prctl(2), PR_SET_PDEATHSIG).

    A daemon that is killed and started again must not find the worker of its previous process still writing.
    On other systems, or if a shell in between started the worker, the heartbeat notices within seconds.
    """
    parent = os.getppid()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _claim_stdout() -> IO[str]:
    """The real stdout, for events only; afterwards, file descriptor 1 is stderr."""
    sys.stdout.flush()
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream
