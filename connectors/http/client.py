"""Bounded, polite requests: what every connector that speaks HTTP does around each one of them.

A request has a deadline as a whole (socket timeouts restart with every byte, so a dripping server
would hold us for ever), a cap on bytes, an agent that says whom to write to, a place in the host's
queue, and retries that obey Retry-After.  `Requester.attempt` wraps any transport in that:
SPARQLWrapper's for SPARQL, httpx for the rest (`fetch`).
"""

from __future__ import annotations

import email.utils
import re
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import httpx
import tenacity

from connectors.clock import SYSTEM_CLOCK, Clock
from connectors.errors import (
    AnswerTooLarge,
    ConnectorError,
    SourceRefused,
    SourceSettingsError,
    SourceThrottled,
    SourceTimeout,
    SourceUnavailable,
    TruncatedAnswer,
    UnexpectedAnswer,
)
from connectors.http.limits import PROCESS_LIMITERS, Budget, HostLimiter, Limiters

T = TypeVar("T")
Check = Callable[[], None]
Send = Callable[[Check], T]
_CONTACT = re.compile(r"[^@\s]+@[^@\s]+|https?://\S+")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one request and of its retries."""

    timeout_s: int = 30
    """Longest silence on the socket; whole seconds, at least 1 (urllib takes 0 for "no timeout")."""
    deadline_s: float = 75.0
    """Longest time for one whole request: the public query service itself gives up after 60 s."""
    max_bytes: int = 64 * 2**20
    attempts: int = 5
    max_wait_s: float = 120.0
    """Longest wait for one retry; asked to wait longer, the call ends with SourceThrottled."""
    budget: Budget = field(default_factory=Budget)


def check_agent(agent: str) -> str:
    """The agent itself, if it holds contact data; Wikimedia answers 403 to those that do not."""
    if not _CONTACT.search(agent):
        raise SourceSettingsError(
            f"agent {agent!r} holds no contact data: add an e-mail address or a URL, "
            "as in 'acme-sync/1.0 (mailto:data@example.org)'"
        )
    return agent


class Requester:
    """One host, asked politely.  Thread-safe."""

    def __init__(
        self,
        url: str,
        agent: str,
        limits: Limits,
        clock: Clock = SYSTEM_CLOCK,
        limiters: Limiters = PROCESS_LIMITERS,
    ) -> None:
        self.url = url
        self.agent = check_agent(agent)
        self.limits = limits
        self.clock = clock
        self.limiter = limiters.of(urllib.parse.urlsplit(url).netloc, limits.budget)

    def attempt(self, send: Send[T], give_up_on: tuple[type[ConnectorError], ...] = ()) -> T:
        """`send(check)` until it succeeds, its error is final, or the attempts are used up.

        `send` calls `check()` between reads so that an abandoned request stops itself.  Errors in
        `give_up_on` come back at once, for callers that can ask for less instead.
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

    def _once(self, send: Send[T]) -> T:
        self.limiter.wait_turn(self.limits.max_wait_s)
        try:
            return within(self.limits.deadline_s, self.url, self.limiter, send)
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
            return 0.0  # the limiter holds everyone off this host for as long as it asked
        return min(self.limits.max_wait_s, 0.5 * 2.0 ** (state.attempt_number - 1))


def _passing(error: BaseException) -> bool:
    """Whether the same request may succeed in a moment."""
    return isinstance(error, SourceUnavailable | UnexpectedAnswer)


def within(deadline_s: float, url: str, limiter: HostLimiter, send: Send[T]) -> T:
    """`send`'s result, or SourceTimeout after `deadline_s` seconds of real time.

    A server that drips its *headers* never returns control between reads, so the request runs on a
    thread that is left behind; it keeps its place at the host until its socket is really closed.
    """
    stop = threading.Event()
    done = threading.Event()
    results: list[T] = []
    errors: list[BaseException] = []

    def check() -> None:
        if stop.is_set():
            raise SourceTimeout(f"{url}: abandoned after {deadline_s:g} s")

    def run() -> None:
        try:
            with limiter.slot():
                results.append(send(check))
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, whatever it is
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=run, name=f"request to {limiter.host}", daemon=True).start()
    if not done.wait(deadline_s):
        stop.set()
        raise SourceTimeout(f"{url}: no whole answer within {deadline_s:g} s")
    if errors:
        raise errors[0]
    return results[0]


def read_bounded(
    url: str, read: Callable[[int], bytes], max_bytes: int, check: Check, expected: int | None
) -> bytes:
    """The whole body, read in pieces.

    Raises AnswerTooLarge past `max_bytes`, TruncatedAnswer when fewer than `expected` bytes came.
    """
    body = bytearray()
    while piece := read(65_536):
        check()
        body += piece
        if len(body) > max_bytes:
            raise AnswerTooLarge(f"{url}: more than {max_bytes} bytes; ask for less or raise max_bytes")
    if expected is not None and len(body) < expected:
        raise TruncatedAnswer(f"{url}: {len(body)} of {expected} bytes came")
    return bytes(body)


def error_of(url: str, status: int, headers: Mapping[str, str], detail: str, now: datetime) -> ConnectorError:
    """The error that an HTTP status means (RFC 9110, section 15)."""
    said = f"{url}: HTTP {status}" + (f": {detail}" if detail else "")
    wait = retry_after_s(headers.get("Retry-After"), now)
    if status == 429 or (status == 503 and wait is not None):
        return SourceThrottled(said, 60.0 if wait is None else wait)
    if status in (408, 504) or "TimeoutException" in detail or "timed out" in detail.lower():
        return SourceTimeout(said)
    if status >= 500:
        return SourceUnavailable(said)
    if status == 403:
        said += " (is there contact data in the agent, and may this client read the source?)"
    return SourceRefused(said, status)


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Retry-After in seconds (RFC 9110, section 10.2.3: a number or a date); None: absent or unreadable."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        at = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer with status 200."""

    content_type: str
    body: bytes


def fetch(
    client: httpx.Client, requester: Requester, url: str, params: Mapping[str, str] | None = None
) -> Answer:
    """GET over httpx under all of this module's bounds.  Raises the ConnectorError tree."""

    def send(check: Check) -> Answer:
        try:
            with client.stream("GET", url, params=params, timeout=requester.limits.timeout_s) as response:
                pieces = response.iter_bytes()
                body = read_bounded(
                    url, lambda _: next(pieces, b""), requester.limits.max_bytes, check, expected=None
                )
        except httpx.TimeoutException as error:
            raise SourceTimeout(f"{url}: {error or 'timed out'}") from error
        except httpx.RemoteProtocolError as error:
            raise TruncatedAnswer(f"{url}: {error}") from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise SourceUnavailable(f"{url}: {error}") from error
        if response.status_code != 200:
            detail = body[:300].decode("utf-8", "replace")
            raise error_of(url, response.status_code, response.headers, detail, requester.clock.now())
        return Answer(response.headers.get("Content-Type", ""), body)

    return requester.attempt(send)
