"""A configured source, read in its own thread, so that a source that hangs cannot block the daemon.

A connector may be third-party code that talks to third-party servers: it may hang, answer very slowly, or
raise any exception.  `Source` wraps a connector and is a `Connector` itself.  Each call has a deadline; a
call that misses it is abandoned, and the connector is not called again until that call returns.  Exceptions
are raised again in the caller, `SystemExit` and the like as `SourceUnavailable`, so that a source can end
only its own reading.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar

from connectors.errors import SourceTimeout, SourceUnavailable
from connectors.observations import Connector, Health, Poll, Triple

T = TypeVar("T")
LOOK_S = 0.5
"""Seconds between two calls of `alive` while waiting for a source."""


@dataclass
class _Call:
    """One call of the connector, and its result."""

    ask: Callable[[], Any]
    done: threading.Event = field(default_factory=threading.Event)
    abandoned: threading.Event = field(default_factory=threading.Event)
    answer: Any = None
    error: BaseException | None = None

    def work(self) -> None:
        try:
            self.answer = self.ask()
        except Exception as error:  # noqa: BLE001  raised again in the calling thread
            self.error = error
        except BaseException as error:  # noqa: BLE001  no library may end the daemon
            self.error = SourceUnavailable(f"its connector raised {type(error).__name__}: {error}")
        self.done.set()


class Source:
    """The connector named `name`, created by `connect` at first use; itself a `Connector`.

    `deadline`: maximum duration of one reading (`reading()`), or of one call outside a reading.  `alive` is
    called while waiting for an answer; if it raises, the call is abandoned.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Connector],
        deadline: timedelta,
        alive: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.deadline, self.alive = name, deadline, alive
        self._connect, self._monotonic = connect, monotonic
        self._connector: Connector | None = None
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._current: _Call | None = None
        self._began: float | None = None

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One reading: all calls within the block share one deadline."""
        self._began = self._monotonic()
        try:
            yield
        finally:
            self._began = None

    def must_pause(self) -> bool:
        """Whether half of the deadline has passed; the other half is reserved for the step being read."""
        return self._left() < self.deadline.total_seconds() / 2

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        return self._steps(lambda connector: connector.poll(cursor))

    def snapshot(self, slots: Iterable[tuple[str, str]]) -> Iterator[Poll]:
        asked = list(slots)
        return self._steps(lambda connector: connector.snapshot(asked))

    def neighbours(self, relation: str, object_id: str | None, limit: int) -> tuple[Triple, ...]:
        return self._ask(lambda: self.connector().neighbours(relation, object_id, limit))

    def facts_of(self, subject_id: str, limit: int) -> tuple[Triple, ...]:
        return self._ask(lambda: self.connector().facts_of(subject_id, limit))

    def check(self) -> Health:
        return self._ask(lambda: self.connector().check())

    def connector(self) -> Connector:
        """The wrapped connector; raises what its factory raises, at every call until the factory succeeds."""
        if self._connector is None:
            self._connector = self._connect()
        return self._connector

    def sleep(self, seconds: float) -> None:
        """The sleep function of the connector; raises SourceUnavailable once the current call is abandoned."""
        call = self._current
        if call is None:
            time.sleep(seconds)
        elif call.abandoned.wait(seconds):
            raise SourceUnavailable("nobody waits for this answer any more")

    def close(self) -> None:
        """Close the connector, unless a call is still running, and end the thread.  It may be called again."""
        if self._connector is not None and not self._is_busy():
            self._ask(self._connector.close)
        if self._thread is not None:
            self._calls.put(None)
        self._thread, self._connector, self._calls = None, None, queue.SimpleQueue()

    def _steps(self, begin: Callable[[Connector], Iterable[Poll]]) -> Iterator[Poll]:
        steps = self._ask(lambda: iter(begin(self.connector())))
        try:
            while step := self._ask(lambda: tuple(islice(steps, 1))):
                yield step[0]
        finally:
            self._calls.put(_Call(getattr(steps, "close", lambda: None)))  # runs in the connector's thread

    def _ask(self, ask: Callable[[], T]) -> T:
        if self._is_busy():
            raise SourceUnavailable("its connector is still busy with an earlier request")
        if self._left() <= 0:
            raise self._timeout()
        if self._thread is None:
            self._thread = threading.Thread(
                target=_work, args=(self._calls,), name=f"source {self.name}", daemon=True
            )
            self._thread.start()
        call = self._current = _Call(ask)
        self._calls.put(call)
        self._wait_for(call)
        if call.error is not None:
            raise call.error
        answer: T = call.answer
        return answer

    def _wait_for(self, call: _Call) -> None:
        until = self._monotonic() + self._left()
        try:
            while not call.done.wait(max(0.0, min(LOOK_S, until - self._monotonic()))):
                if self._monotonic() >= until:
                    raise self._timeout()
                self.alive()
        except BaseException:
            call.abandoned.set()
            raise

    def _is_busy(self) -> bool:
        return self._current is not None and not self._current.done.is_set()

    def _timeout(self) -> SourceTimeout:
        return SourceTimeout(f"no answer within {self.deadline.total_seconds():g} s")

    def _left(self) -> float:
        """Seconds until the deadline of the current reading, or of a call outside a reading."""
        whole = self.deadline.total_seconds()
        return whole if self._began is None else self._began + whole - self._monotonic()


def _work(calls: queue.SimpleQueue[_Call | None]) -> None:
    while (call := calls.get()) is not None:
        call.work()
