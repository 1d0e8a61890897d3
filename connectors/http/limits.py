"""Rate limits for one host: concurrent requests, Retry-After, and budgets of query time and errors.

The defaults are the public Wikidata query service's rules (Wikidata Query Service, "Query limits"):
60 s of query time and 30 errors a minute for one client, and a ban for ignoring Retry-After; and
the MediaWiki API etiquette's three requests at once.  They are kept for a *host*, by everything in
the process that talks to it, because that is how the host counts.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from connectors.clock import SYSTEM_CLOCK, Clock
from connectors.errors import SourceThrottled, SourceTimeout

_MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits that one host sets for one client."""

    concurrent: int = 3
    query_seconds_per_minute: float = 60.0
    errors_per_minute: int = 30


class HostLimiter:
    """Admission to one host.  Thread-safe."""

    def __init__(self, host: str, budget: Budget, clock: Clock) -> None:
        self.host = host
        self._budget = budget
        self._clock = clock
        self._slots = threading.BoundedSemaphore(budget.concurrent)
        self._lock = threading.Lock()
        self._not_before = float("-inf")
        self._spent: deque[tuple[float, float]] = deque()
        """(when a request ended, how many seconds it took), the last minute's."""
        self._errors: deque[float] = deque()

    def wait_turn(self, at_most_s: float) -> None:
        """Wait until the host may be asked again.

        Raises SourceThrottled, without asking, when that would take longer than `at_most_s`.
        """
        while (wait := self._wait_s()) > 0:
            if wait > at_most_s:
                raise SourceThrottled(
                    f"{self.host} asked for no request in the next {wait:.0f} s; try again after that", wait
                )
            at_most_s -= wait
            self._clock.sleep(wait)

    @contextmanager
    def slot(self, at_most_s: float) -> Iterator[None]:
        """Hold one of the host's few places, and charge the time spent in it to the query budget.

        Raises SourceTimeout when none becomes free within `at_most_s` seconds of real time.
        """
        if not self._slots.acquire(timeout=at_most_s):
            raise SourceTimeout(
                f"{self.host}: no request could be made within {at_most_s:g} s, because others are still open"
            )
        start = self._clock.monotonic()
        try:
            yield
        finally:
            self._slots.release()
            end = self._clock.monotonic()
            with self._lock:
                self._spent.append((end, end - start))

    def hold_off(self, seconds: float) -> None:
        """Send the host no request for `seconds` (its Retry-After), anywhere in this process."""
        with self._lock:
            self._not_before = max(self._not_before, self._clock.monotonic() + seconds)

    def failed(self) -> None:
        """Count an error against the host's budget of errors."""
        with self._lock:
            self._errors.append(self._clock.monotonic())

    def _wait_s(self) -> float:
        with self._lock:
            now = self._clock.monotonic()
            while self._spent and self._spent[0][0] <= now - _MINUTE:
                self._spent.popleft()
            while self._errors and self._errors[0] <= now - _MINUTE:
                self._errors.popleft()
            wait = self._not_before - now
            if sum(took for _, took in self._spent) >= self._budget.query_seconds_per_minute:
                wait = max(wait, self._spent[0][0] + _MINUTE - now)
            if len(self._errors) >= self._budget.errors_per_minute:
                wait = max(wait, self._errors[0] + _MINUTE - now)
            return wait


class Limiters:
    """The limiters of all hosts, one each; the first to name a host sets its budget."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._hosts: dict[str, HostLimiter] = {}

    def of(self, host: str, budget: Budget) -> HostLimiter:
        with self._lock:
            if host not in self._hosts:
                self._hosts[host] = HostLimiter(host, budget, self._clock)
            return self._hosts[host]


PROCESS_LIMITERS = Limiters()
"""Shared by every connector that is given no other, since a host counts clients, not connectors."""
