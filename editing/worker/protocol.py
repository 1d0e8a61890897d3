"""The protocol between daemon and worker: JSON objects, one per line, and the request to stop.

    {"event": "ready", "version": 1, "pid": …}
    {"event": "progress", "phase": …, "done": …, "total": …, "rate": …, "eta_s": …}
    {"event": "heartbeat"}
    {"event": "log", "message": …, …}          a preflight, for one, before a build begins
    {"event": "imported", "digest": …}         a base; null if that failed
    {"event": "report", "path": …}
    {"event": "error", "kind": "out_of_memory|bad_spec|data|internal", "message": …, "retry": …}

`rate` is that of the phase, in items per second; `eta_s` is the number of seconds left for this phase and, within
a build, for its later ones.  A heartbeat means that the work is *progressing*: heartbeats stop after `PATIENCE`
seconds without progress, so that a worker that hangs is noticed; this is longer than the longest step (a solve).
Torch-free.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from editing.errors import Stopped
from editing.preflight import Preflight
from editing.progress import Pace

HEARTBEAT = 2.0
PATIENCE = 900.0
_EVERY = 0.2


class Channel:
    """The worker's side of the protocol; safe to use from several threads."""

    def __init__(self, stream: IO[str], *, heartbeat: float = HEARTBEAT, patience: float = PATIENCE) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._heartbeat, self._patience = heartbeat, patience
        self._parent = os.getppid()
        self._stopping = threading.Event()
        self._moved = self._sent = time.monotonic()
        self._phase = ""
        self._pace = Pace()

    def emit(self, event: str, **fields: object) -> None:
        """Write one event.  If the reader has closed the pipe, the worker is asked to stop."""
        line = json.dumps({"event": event, **fields}, ensure_ascii=False)
        try:
            with self._lock:
                self._stream.write(line + "\n")
                self._stream.flush()
        except BrokenPipeError:
            self.stop()

    def log(self, message: str, **fields: object) -> None:
        self.emit("log", message=message, **fields)

    def progress(self, phase: str, done: int, total: int) -> None:
        """Report the progress of a phase, at most every 0.2 seconds; raises Stopped if asked to stop."""
        self.raise_if_stopping()
        now = self._moved = time.monotonic()
        rate, eta = self._pace.at(phase, done, total)
        if phase == self._phase and now - self._sent < _EVERY and done < total:
            return
        self._phase, self._sent = phase, now
        self.emit(
            "progress",
            phase=phase,
            done=done,
            total=total,
            rate=None if rate is None else round(rate, 3),
            eta_s=None if eta is None else round(eta, 1),
        )

    def expect(self, preflight: Preflight) -> None:
        """Log the estimate of a build; from now on, the time left covers all its phases."""
        self._pace.expect(preflight.phases())
        summary = "; ".join(f"{what}: {how}" for what, how in preflight.lines())
        self.log(f"preflight: {summary}", **preflight.entries())

    def stop(self) -> None:
        """Ask the work to stop at its next safe point; may be called from a signal handler."""
        self._stopping.set()

    def raise_if_stopping(self) -> None:
        if self._stopping.is_set():
            raise Stopped("asked to stop: finished δs are kept, the next attempt carries on from there")

    @contextmanager
    def working(self, *, patience: float | None = None) -> Iterator[None]:
        """Send heartbeats inside the block while the work progresses and the parent process lives.

        `patience`: seconds without progress after which they stop; None: the channel's.
        """
        self._moved = time.monotonic()
        ended = threading.Event()
        allowed = self._patience if patience is None else patience
        thread = threading.Thread(target=self._beat, args=(ended, allowed), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _beat(self, ended: threading.Event, patience: float) -> None:
        while not ended.wait(self._heartbeat):
            if os.getppid() != self._parent:
                self.stop()
            if time.monotonic() - self._moved < patience:
                self.emit("heartbeat")
