"""HTTP requests to servers: bounded, authorised, with errors that name the server and the request."""

from __future__ import annotations

import codecs
import ssl
from collections.abc import Mapping
from functools import cache
from json import dumps, loads
from pathlib import Path
from typing import Any

import httpx

from kbsync import telemetry
from kbsync.deployment.hooks import HookFailed, ServerUnreachable
from kbsync.settings.redacted import redacted
from kbsync.visible import visible

MAX_BYTES = 1 << 20
"""Maximum size of an answer; those to control requests are much smaller."""


class Server:
    """One base URL; every request opens a new connection, so that a restarted server needs no special handling."""

    def __init__(self, url: str, token: str | None, timeout_s: float, authority: Path | None = None) -> None:
        """`authority`: file of the certificate authority that the server's certificate is of; None: the system's."""
        self.url = url
        self.timeout_s = timeout_s
        self._authority = authority
        self._headers = {"Accept-Encoding": "identity"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str = "", *, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """The answer, whatever its status; raises HookFailed if there is none."""
        return self._send("GET", path, headers=headers)

    def post(
        self,
        path: str = "",
        *,
        body: bytes | None = None,
        json: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Like `get`; `json` is sent in ASCII, so that no text from a server can make it unsendable."""
        headers = {**({} if json is None else {"Content-Type": "application/json"}), **(headers or {})}
        content = body if json is None else dumps(json).encode("ascii")
        return self._send("POST", path, content=content, params=params, headers=headers)

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        with telemetry.span(method, url=redacted(self.url + path)):
            return self._exchange(method, path, **request)

    def _exchange(self, method: str, path: str, **request: Any) -> httpx.Response:
        headers = {**self._headers, **telemetry.headers(), **(request.pop("headers", None) or {})}
        url = self.url + path
        try:
            with (
                httpx.Client(
                    timeout=self.timeout_s, trust_env=False, verify=_trust(self._authority)
                ) as client,
                client.stream(method, url, headers=headers, **request) as answer,
            ):
                return httpx.Response(
                    answer.status_code,
                    content=_body_of(answer),
                    request=answer.request,
                    # As bytes: a server may send what no header should hold.
                    headers=[pair for pair in answer.headers.raw if pair[0].lower() == b"location"],
                )
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise ServerUnreachable(f"{method} {url}: {str(error) or 'cannot connect'}") from error
        except httpx.TimeoutException as error:
            raise HookFailed(f"{method} {url}: no answer within {self.timeout_s:g} s") from error
        except httpx.HTTPError as error:
            raise HookFailed(f"{method} {url}: {str(error) or type(error).__name__}") from error


def _body_of(answer: httpx.Response) -> bytes:
    """The body as received, at most MAX_BYTES; raises HookFailed if it is larger.

    Compressed answers are refused: they were not requested, and a few bytes may decompress to gigabytes.
    """
    where = f"{answer.request.method} {answer.request.url}"
    if (encoding := answer.headers.get("Content-Encoding", "identity").strip().lower()) != "identity":
        raise HookFailed(f"{where}: the answer is encoded as {visible(encoding)!r}, which was not asked for")
    body = bytearray()
    for piece in answer.iter_raw():
        body += piece
        if len(body) > MAX_BYTES:
            raise HookFailed(f"{where}: the answer is longer than {MAX_BYTES} bytes")
    return bytes(body)


@cache
def _trust(authority: Path | None) -> ssl.SSLContext:
    """Created once: loading the system's certificates takes longer than a request.

    SSL_CERT_FILE names another authority, as usual; proxies in the environment are not used for servers.
    """
    if authority is not None:
        return ssl.create_default_context(cafile=str(authority))
    return httpx.create_ssl_context()


def described(answer: httpx.Response) -> str:
    """The request and its answer, for messages; control characters are escaped."""
    text = visible(" ".join(answer.text.split())[:200])
    where = f" to {visible(answer.headers['Location'])}" if answer.has_redirect_location else ""
    request = f"{answer.request.method} {answer.request.url}"
    return f"{request}: HTTP {answer.status_code}{where}{f': {text}' if text else ''}"


def require_ok(answer: httpx.Response) -> httpx.Response:
    """Raises HookFailed unless the status is 2xx.  Redirects are not followed: a hook names its server."""
    if answer.has_redirect_location:
        raise HookFailed(described(answer), "redirects are not followed: configure the address it names")
    if not answer.is_success:
        raise HookFailed(described(answer))
    return answer


def json_of(answer: httpx.Response) -> Any:
    """The JSON value of an answer; raises HookFailed if its body is not JSON, or is nested too deeply."""
    try:
        return loads(answer.content.removeprefix(codecs.BOM_UTF8))
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or 100,000 brackets
        raise HookFailed(f"{described(answer)} cannot be read as JSON") from error


def object_of(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object of a 2xx answer; raises HookFailed for anything else."""
    found = json_of(require_ok(answer))
    if not isinstance(found, dict):
        raise HookFailed(f"{described(answer)} is not a JSON object")
    return found


def flag_of(answer: httpx.Response, key: str) -> bool | None:
    """The boolean `key` of an answer's JSON object, whatever its status; None if there is none."""
    try:
        found = json_of(answer)
    except HookFailed:
        return None
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, bool) else None
