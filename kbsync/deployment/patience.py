"""Waiting for a server without blocking the daemon.

Loading takes minutes, and a hanging server never answers.  So the call runs on a separate thread, while this one
renews the lease, notifies the watchdog, handles SIGTERM and checks the time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from kbsync.deployment.hooks import HookFailed
from kbsync.errors import KbsyncError
from kbsync.executor import Stopping
from kbsync.visible import visible

log = structlog.get_logger()

T = TypeVar("T")
_LOOK_S = 0.2
"""How often the waiting thread checks for signals, in seconds."""


@dataclass(frozen=True, slots=True)
class Patience:
    alive: Callable[[], None]
    """Called while waiting; raises state.StaleLeader if another process leads."""
    stopping: threading.Event
    stopped: tuple[str, str] = (
        "stopped while a server was being notified",
        "the next start notifies it again",
    )
    """What is said at SIGTERM: what was going on, and what follows."""

    def check(self) -> None:
        """Renew the lease; raises Stopping at SIGTERM."""
        self.alive()
        if self.stopping.is_set():
            raise Stopping(*self.stopped)

    def wait(self, call: Callable[[], T], seconds: float, abandoned: threading.Event) -> T:
        """`call()`, or HookFailed after `seconds`; sets `abandoned` when its result is no longer needed.

        Raises Stopping at SIGTERM, and the error that `call` raises.  An unexpected error becomes a HookFailed, so that
        one hook's defect never keeps the other servers from being served.
        """
        results: list[T] = []
        errors: list[BaseException] = []
        done = threading.Event()

        def run() -> None:
            try:
                results.append(call())
            except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, whatever it is
                errors.append(error)
            finally:
                done.set()

        threading.Thread(target=run, name="deploy hook", daemon=True).start()
        deadline = time.monotonic() + seconds
        try:
            while not done.wait(_LOOK_S):
                self.check()
                if time.monotonic() > deadline:
                    raise HookFailed(f"it did not end within {seconds:g} s")
        finally:
            abandoned.set()
        if errors:
            raise _declared(errors[0])
        return results[0]


def _declared(error: BaseException) -> BaseException:
    if isinstance(error, KbsyncError) or not isinstance(error, Exception):
        return error
    log.error("deploy.unexpected", exc_info=error)
    failed = HookFailed(
        f"unexpected {type(error).__name__}: {visible(str(error), 200)}", "see the daemon's log"
    )
    failed.__cause__ = error
    return failed
