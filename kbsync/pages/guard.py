"""What stands before every page: which hosts are answered, which forms are taken, and the headers of every answer.

Cross-site requests are refused as in Filippo Valsorda's analysis (Go's `http.CrossOriginProtection`, 2025): a browser
says with `Sec-Fetch-Site`, or with `Origin`, where a POST comes from; a program that sends neither is no browser.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
LONGEST_BODY = 256 * 1024
"""Bytes of a form; the longest is a decision about a page of facts."""
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
"""Headers that a reverse proxy adds."""

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def is_loopback(host: str) -> bool:
    """Whether a host to bind to, or a client's address, is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(value: str) -> str:
    """The host of a `Host` header, without port and brackets, in lower case; empty if it is none."""
    try:
        return (urlsplit(f"//{value}").hostname or "").lower()
    except ValueError:
        return ""


def is_cross_site(headers: Headers) -> bool:
    """Whether a browser sent this request for a page of another site."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()


class Guard:
    """ASGI middleware; refuses before anything is parsed, and adds `HEADERS` to every answer."""

    def __init__(self, app: Asgi, hosts: frozenset[str] | None = None, *, open_to_all: bool = False) -> None:
        """`hosts`: names that are answered to (None: any). `open_to_all`: there is no authentication, so nothing that
        a proxy forwards may be answered."""
        self.app, self.hosts, self.open_to_all = app, hosts, open_to_all

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if not scope["path"].startswith("/static/"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            code, why = refusal
            await PlainTextResponse(f"{why}\n", code)(scope, receive, guarded)
            return
        await self.app(scope, _limited(receive), guarded)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason, if this request is not answered."""
        headers = Headers(scope=scope)
        if self.hosts is not None and host_of(headers.get("host", "")) not in self.hosts:
            return 421, "this host name is not served here: name it under `hosts` in [pages]"
        if self.open_to_all and any(name in headers for name in FORWARDED):
            return 403, "a proxy forwarded this, but no authentication is set up: see proxy_header in [pages]"
        if scope["method"] not in SAFE and is_cross_site(headers):
            return 403, "this form was sent by another site"
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdecimal()):
            return 400, "the Content-Length is not a number"
        if int(length[:20]) > LONGEST_BODY:
            return 413, f"a form has at most {LONGEST_BODY} bytes"
        return None


class TooLong(Exception):
    """A body without a stated length turned out to be longer than `LONGEST_BODY`."""


def _limited(receive: Receive) -> Receive:
    seen = 0

    async def counted() -> MutableMapping[str, Any]:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > LONGEST_BODY:
            raise TooLong
        return message

    return counted
