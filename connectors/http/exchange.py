"""One HTTP exchange with limits on total time, decoded bytes and redirects.

httpx sends the request; this module adds the limits that httpx does not enforce.

* Socket timeouts restart with every byte, so a server that sends slowly could block us forever: a
  `Deadline` shuts the sockets down.
* Content codings are decoded here, with at most one gzip layer and no byte beyond the limit, because
  `gzip, gzip` can expand a kilobyte to a gigabyte.
* A redirect is followed within one origin only (RFC 9110, section 15.4), so credentials never reach a
  host that the settings do not name, and the answers of that host never become facts.
* Cookies are not kept.
"""

from __future__ import annotations

import socket
import ssl
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

from connectors.border import escaped, shown
from connectors.errors import (
    AnswerTooLarge,
    ConnectorError,
    SourceRefused,
    SourceThrottled,
    SourceTimeout,
    SourceUnavailable,
    TruncatedAnswer,
    UnexpectedAnswer,
)

_MAX_REDIRECTS = 3
_METHOD_KEEPING = (307, 308)
_GZIP = 16 + zlib.MAX_WBITS


class Deadline:
    """Ends the exchanges made under it `seconds` after its start, in real time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()
        self._passed = False
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(max(0.0, seconds), self._pass)
        self._timer.daemon = True

    @property
    def passed(self) -> bool:
        return self._passed

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()
        with self._lock:
            for connected in self._sockets:
                connected.close()
            self._sockets.clear()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """A callback for httpx's `trace` extension that records every connection."""
        if event == "connection.connect_tcp.complete":
            # A handle of our own: TLS takes the socket apart from the object that httpcore made.
            connected = info["return_value"].get_extra_info("socket").dup()
            with self._lock:
                self._sockets.append(connected)
                if self._passed:
                    _shut_down(connected)

    def _pass(self) -> None:
        with self._lock:
            self._passed = True
            for connected in self._sockets:
                _shut_down(connected)


def _shut_down(connected: socket.socket) -> None:
    """End the connection, so that a blocked read of it returns."""
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed by the other side before


def new_client(transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """A client for `opened`: one connection for each request, no redirects of its own, no cookies."""
    return httpx.Client(
        transport=transport,
        verify=_trust(),
        limits=httpx.Limits(max_keepalive_connections=0),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        event_hooks={"response": [_redirect]},
    )


@cache
def _trust() -> ssl.SSLContext:
    """The certificates that are trusted; reading them takes a tenth of a second."""
    return httpx.create_ssl_context()


@contextmanager
def opened(
    client: httpx.Client, request: httpx.Request, deadline: Deadline, timeout: httpx.Timeout
) -> Iterator[httpx.Response]:
    """The response to `request`, its body unread.

    Raises, also from within the block, SourceTimeout, TruncatedAnswer and SourceUnavailable for what the
    network does, SourceRefused for a redirect that is not followed.
    """
    url = str(request.url)
    try:
        response = _followed(client, request, deadline, timeout)
        try:
            yield response
        finally:
            response.close()
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ConnectorError) as error:
        # A refusal stays one, though its text did not arrive in time: it may say for how long to wait.
        if deadline.passed and not isinstance(error, SourceRefused | SourceThrottled):
            raise _too_late(url, deadline) from error
        raise error if isinstance(error, ConnectorError) else _meaning(url, error) from error
    if deadline.passed:  # a body without a length seems to end where the socket was shut down
        raise _too_late(url, deadline)


def _followed(
    client: httpx.Client, request: httpx.Request, deadline: Deadline, timeout: httpx.Timeout
) -> httpx.Response:
    for _ in range(_MAX_REDIRECTS + 1):
        request.extensions |= {"trace": deadline.trace, "timeout": timeout.as_dict()}
        try:
            return client.send(request, stream=True)
        except _Redirected as redirected:
            request = redirected.request
    raise SourceRefused(f"{_shown_url(request)}: redirected more than {_MAX_REDIRECTS} times")


def _shown_url(request: httpx.Request) -> str:
    """The address, which after a redirect is the server's choice."""
    return escaped(request.url, 300)


def _too_late(url: str, deadline: Deadline) -> SourceTimeout:
    return SourceTimeout(f"{url}: no complete answer within {deadline.seconds:g} s")


def _meaning(url: str, error: Exception) -> ConnectorError:
    text = shown(str(error) or type(error).__name__, 200)
    if isinstance(error, httpx.TimeoutException):
        return SourceTimeout(f"{url}: silent for too long ({type(error).__name__})")
    if isinstance(error, httpx.RemoteProtocolError):
        return TruncatedAnswer(f"{url}: the answer ended early: {text}")
    return SourceUnavailable(f"{url} cannot be reached: {text}")


class _Redirected(Exception):
    """The server answered with a redirect that is followed."""

    def __init__(self, request: httpx.Request) -> None:
        super().__init__(str(request.url))
        self.request = request


def _redirect(response: httpx.Response) -> None:
    """Raises _Redirected for a redirect within the origin, SourceRefused for any other."""
    if not response.has_redirect_location:
        return
    request, status = response.request, response.status_code
    location = response.headers["Location"]
    try:
        target = request.url.join(location)
    except (httpx.InvalidURL, ValueError):
        target = None
    keeps_method = request.method == "GET" or status in _METHOD_KEEPING
    if (
        target is not None
        and keeps_method
        and _origin(target) == _origin(request.url)
        and not target.userinfo
    ):
        headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"host"]
        content = request.content if request.method != "GET" else None
        raise _Redirected(httpx.Request(request.method, target, headers=headers, content=content))
    raise SourceRefused(
        f"{_shown_url(request)}: HTTP {status}, Location {shown(location, 200)}; only redirects within the same "
        "scheme, host and port are followed. If the new address is right, set it in the settings",
        status,
    )


def _origin(url: httpx.URL) -> tuple[bytes, bytes, int | None]:
    return url.raw_scheme, url.raw_host, url.port


def read_bounded(url: str, response: httpx.Response, max_bytes: int) -> bytes:
    """The whole body, decoded.

    Raises AnswerTooLarge past `max_bytes`, UnexpectedAnswer for a content coding that was not asked for,
    TruncatedAnswer for a gzip stream that breaks off.
    """
    body = bytearray()
    for piece in _decoded(url, response, max_bytes):
        body += piece
        if len(body) > max_bytes:
            raise AnswerTooLarge(f"{url}: more than {max_bytes} bytes; ask for less or raise max_bytes")
    return bytes(body)


def read_start(url: str, response: httpx.Response, most: int) -> str:
    """The beginning of a body that is only shown: what cannot be read or decoded is left out.

    Raises nothing, because the status and the headers of such a response count, whatever its body is.
    """
    start = b""
    with suppress(ConnectorError, httpx.HTTPError, httpx.StreamError, OSError):
        for piece in _decoded(url, response, most):
            start += piece
            if len(start) >= most:
                break
    return start[:most].decode("utf-8", "replace")


def _decoded(url: str, response: httpx.Response, max_bytes: int) -> Iterator[bytes]:
    """The body in pieces that together are hardly longer than `max_bytes`."""
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    if coding in ("", "identity"):
        yield from response.iter_raw()
    elif coding in ("gzip", "x-gzip"):
        yield from _inflated(url, response.iter_raw(), max_bytes)
    else:
        raise UnexpectedAnswer(f"{url}: Content-Encoding {shown(coding)}, but only gzip was requested")


def _inflated(url: str, pieces: Iterator[bytes], max_bytes: int) -> Iterator[bytes]:
    inflate = zlib.decompressobj(_GZIP)
    try:
        for piece in pieces:
            rest = piece
            while rest:
                if inflate.eof:  # RFC 1952, section 2.2: a file may have several members
                    inflate = zlib.decompressobj(_GZIP)
                yield inflate.decompress(rest, max_bytes + 1)
                rest = inflate.unconsumed_tail or inflate.unused_data
    except zlib.error as error:
        raise UnexpectedAnswer(f"{url}: not gzip, although Content-Encoding says so: {error}") from error
    if not inflate.eof:
        raise TruncatedAnswer(f"{url}: the gzip stream is truncated")
