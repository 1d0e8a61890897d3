"""Deadlines for calls into Ray, which may block in its core for ever and cannot be interrupted."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from editing.worker.protocol import Channel

GAVE_UP = os.EX_TEMPFAIL


class Watchdog:
    """Reports an error and ends this process if something takes too long.

    Ending the process is always safe: what the actors finished is in the cache, and the next attempt resumes.
    """

    def __init__(self, channel: Channel, end: Callable[[int], object] = os._exit) -> None:
        self._channel, self._end = channel, end
        self._lock = threading.Lock()
        self._deadline: tuple[float, str] | None = None
        threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def within(self, seconds: float, message: str) -> Iterator[None]:
        """Give up with `message` unless the block ends within `seconds`."""
        with self._lock:
            self._deadline = (time.monotonic() + seconds, message)
        try:
            yield
        finally:
            with self._lock:
                self._deadline = None

    def give_up(self, message: str) -> None:
        """Report that the cluster failed, and end the process: what is left of Ray in it may block."""
        self._channel.emit("error", kind="internal", message=message, retry=True)
        self._end(GAVE_UP)

    def _watch(self) -> None:
        while True:
            time.sleep(0.5)
            with self._lock:
                expired = self._deadline is not None and time.monotonic() > self._deadline[0]
                message = self._deadline[1] if self._deadline is not None else ""
                self._deadline = None if expired else self._deadline
            if expired:
                self.give_up(message)
