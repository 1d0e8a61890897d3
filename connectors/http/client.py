"""Bounded, rate-limited HTTP requests, shared by every connector that uses HTTP.

Each request has a deadline, a byte limit, a User-Agent with contact data, a place in the host's queue,
and retries that obey Retry-After.  All retries and waits of one step of a poll share a time allowance,
so that no source delays its caller for longer than that.
"""

from __future__ import annotations

import math
import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import httpx
import tenacity

from connectors.clock import SYSTEM_CLOCK, Clock
from connectors.errors import (
    ConnectorError,
    SourceRefused,
    SourceSettingsError,
    SourceThrottled,
    SourceTimeout,
    SourceUnavailable,
    UnexpectedAnswer,
)
from connectors.http.exchange import Deadline, new_client, opened, read_bounded, read_start
from connectors.http.limits import PROCESS_LIMITERS, Budget, Limiters
from connectors.http.status import error_of

T = TypeVar("T")
SendRequest = Callable[[Deadline], T]
_CONTACT = re.compile(r"[^@\s]+@[^@\s]+|https?://\S+")
_SHOWN = 2_000
"""Bytes of the body of an error that are read."""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Bounds of one request and of its retries."""

    timeout_s: float = 30
    """Socket timeout."""
    deadline_s: float = 75.0
    """Maximum time for one whole request; the public query service itself stops queries after 60 s."""
    max_bytes: int = 16 * 2**20
    """Largest body, after decoding; parsed JSON takes about twenty times as much memory."""
    attempts: int = 5
    max_wait_s: float = 120.0
    """Longest wait for one retry; asked to wait longer, the call ends with SourceThrottled."""
    budget: Budget = field(default_factory=Budget)


def check_agent(agent: str) -> str:
    """Return the agent if it contains contact data; Wikimedia answers 403 to agents that do not."""
    if not _CONTACT.search(agent):
        raise SourceSettingsError(
            f"agent {agent!r} contains no contact information: add an e-mail address or a URL, "
            "as in 'acme-sync/1.0 (mailto:data@example.org)'"
        )
    return agent


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A complete HTTP response with status 200."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "")


class Requester:
    """Sends requests to one host, within its published limits.  Thread-safe."""

    def __init__(
        self,
        url: str,
        agent: str,
        limits: RequestLimits,
        clock: Clock = SYSTEM_CLOCK,
        limiters: Limiters = PROCESS_LIMITERS,
    ) -> None:
        self.url = url
        self.agent = check_agent(agent)
        self.limits = limits
        self.clock = clock
        self.limiter = limiters.of(urllib.parse.urlsplit(url).netloc, limits.budget)
        self._allowed_s = self._until = math.inf

    @cached_property
    def client(self) -> httpx.Client:
        return new_client()

    def close(self) -> None:
        if "client" in self.__dict__:
            self.client.close()

    def allow(self, seconds: float) -> None:
        """Allow `seconds` for all requests, retries and waits from now on; beyond that SourceTimeout is raised."""
        self._allowed_s, self._until = seconds, self.clock.monotonic() + seconds

    def time_left_s(self) -> float:
        """The remaining time allowance.  Raises SourceTimeout when it is used up."""
        left = self._until - self.clock.monotonic()
        if left <= 0:
            raise SourceTimeout(
                f"{self.url}: one step took longer than {self._allowed_s:g} s. If the source is sound, "
                "raise `step_deadline_s` or lower `slots_per_step`"
            )
        return left

    def attempt(self, send: SendRequest[T], give_up_on: tuple[type[ConnectorError], ...] = ()) -> T:
        """Call `send(deadline)` until it succeeds, its error is final, or attempts or time are used up.

        Errors in `give_up_on` are raised at once, for callers that can request less instead.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda e: _passing(e) and not isinstance(e, give_up_on)),
            stop=tenacity.stop_after_attempt(self.limits.attempts),
            wait=self._pause,
            sleep=self.clock.sleep,
            reraise=True,
        )
        result: T = retrying(self._once, send)
        return result

    def fetch(self, request: httpx.Request, deadline: Deadline) -> HttpAnswer:
        """One exchange under all bounds.  Raises the ConnectorError tree."""
        url = str(request.url)
        request.headers["User-Agent"] = self.agent
        request.headers["Accept-Encoding"] = "gzip"
        with opened(self.client, request, deadline, httpx.Timeout(self.limits.timeout_s)) as response:
            if response.status_code != 200:
                detail = read_start(url, response, _SHOWN)
                now = self.clock.now()
                raise error_of(url, response.status_code, response.headers, detail, now)
            return HttpAnswer(response.headers, read_bounded(url, response, self.limits.max_bytes))

    def get(self, url: str, params: Mapping[str, str] | None = None) -> HttpAnswer:
        """A GET with retries.  Raises the ConnectorError tree."""
        return self.attempt(lambda deadline: self.fetch(httpx.Request("GET", url, params=params), deadline))

    def _once(self, send: SendRequest[T]) -> T:
        self.limiter.wait_turn(min(self.limits.max_wait_s, self.time_left_s()))
        seconds = min(self.limits.deadline_s, self.time_left_s())
        try:
            with self.limiter.slot(seconds), Deadline(seconds) as deadline:
                return send(deadline)
        except SourceThrottled as error:
            self.limiter.failed()
            self.limiter.hold_off(error.retry_after_s)
            raise
        except (SourceUnavailable, SourceRefused):
            self.limiter.failed()
            raise

    def _pause(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, SourceThrottled):
            return 0.0  # the limiter already delays all requests to this host by Retry-After
        return min(self.limits.max_wait_s, 0.5 * 2.0 ** (state.attempt_number - 1), self.time_left_s())


def _passing(error: BaseException) -> bool:
    """Whether the same request may succeed in a moment."""
    return isinstance(error, SourceUnavailable | UnexpectedAnswer)


def stepwise(steps: Iterable[T], requesters: Iterable[Requester], seconds: float) -> Iterator[T]:
    """Yield `steps`, allowing the requesters `seconds` for each; the consumer's time does not count."""
    iterator = iter(steps)
    while True:
        for requester in requesters:
            requester.allow(seconds)
        try:
            step = next(iterator)
        except StopIteration:
            return
        yield step
