"""Requests to servers: bounded, authorised, and with errors that say which server refused what."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from functools import cache
from typing import Any

import httpx

from kbsync.deployment.hooks import HookFailed, ServerUnreachable

MAX_BYTES = 1 << 20
"""Answers to control requests are small; more than this is not one."""


class Server:
    """One base URL; a connection a request, so that a server that was restarted is simply asked again."""

    def __init__(self, url: str, token: str | None, timeout_s: float) -> None:
        self.url = url
        self.timeout_s = timeout_s
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str = "") -> httpx.Response:
        """The answer, whatever its status; raises HookFailed where there is none."""
        return self._send("GET", path)

    def post(
        self,
        path: str = "",
        *,
        body: bytes | None = None,
        json: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """As `get`."""
        return self._send("POST", path, content=body, json=json, params=params, headers=headers)

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        headers = {**self._headers, **(request.pop("headers", None) or {})}
        url = self.url + path
        try:
            with (
                httpx.Client(timeout=self.timeout_s, trust_env=False, verify=_trust()) as client,
                client.stream(method, url, headers=headers, **request) as answer,
            ):
                body = bytearray()
                for piece in answer.iter_bytes():
                    body += piece
                    if len(body) > MAX_BYTES:
                        raise HookFailed(f"{method} {url}: the answer is longer than {MAX_BYTES} bytes")
                return httpx.Response(
                    answer.status_code, content=bytes(body), request=answer.request
                )  # the headers are left behind: they speak of an encoding that is undone by now
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise ServerUnreachable(f"{method} {url}: {str(error) or 'cannot connect'}") from error
        except httpx.TimeoutException as error:
            raise HookFailed(f"{method} {url}: no answer within {self.timeout_s:g} s") from error
        except httpx.HTTPError as error:
            raise HookFailed(f"{method} {url}: {str(error) or type(error).__name__}") from error


@cache
def _trust() -> ssl.SSLContext:
    """Read once: the certificates of a whole system take longer to load than a request.

    SSL_CERT_FILE names another authority, as everywhere; a proxy of the environment is not for servers.
    """
    return httpx.create_ssl_context()


def said(answer: httpx.Response) -> str:
    """Which request was answered how, for messages."""
    text = " ".join(answer.text.split())[:200]
    return f"{answer.request.method} {answer.request.url}: HTTP {answer.status_code}{f': {text}' if text else ''}"


def require_ok(answer: httpx.Response) -> httpx.Response:
    """Raises HookFailed unless the status is 2xx."""
    if not answer.is_success:
        raise HookFailed(said(answer))
    return answer


def object_of(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object of a 2xx answer; raises HookFailed for anything else."""
    try:
        found = require_ok(answer).json()
    except ValueError as error:  # no JSON, or no UTF-8
        raise HookFailed(f"{said(answer)} is no JSON") from error
    if not isinstance(found, dict):
        raise HookFailed(f"{said(answer)} is no JSON object")
    return found
