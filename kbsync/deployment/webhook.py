"""The kind `webhook`: a signed POST announces a version, a signed GET asks which one is served.

    POST <url>
    Content-Type: application/json
    X-Kbsync-Timestamp: 1767225600
    X-Kbsync-Signature: sha256=<hex HMAC-SHA256 of "<timestamp>.<body>" under the token>

    {"action": "deploy", "version": "3-1@9f86d081884c", "path": "/models/3-1", "digest": "9f86…"}

    GET <observe_url>
    X-Kbsync-Timestamp: 1767225600
    X-Kbsync-Signature: sha256=<hex HMAC-SHA256 of "<timestamp>.GET <path and query>" under the token>

The timestamp is signed too, so that a receiver can refuse a replayed request (RFC 2104 defines HMAC).  The key
itself is never sent; a service that requires a bearer token for the GET gets a separate one.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import datetime
from typing import Literal
from urllib.parse import urlsplit

from kbsync.deployment.hooks import Call, HookFailed, Version, mapped, version_named
from kbsync.deployment.http import Server, described, require_ok
from kbsync.settings.deploy import WebhookSettings


def signature(secret: str, timestamp: int, message: bytes) -> str:
    """The value of X-Kbsync-Signature for a POST's body, or for `GET <path and query>`."""
    signed = f"{timestamp}.".encode() + message
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


class WebhookHook:
    def __init__(self, settings: WebhookSettings, call: Call, now: Callable[[], datetime]) -> None:
        self.settings = settings
        self.call = call
        self.now = now

    def deploy(self, version: Version) -> None:
        self._post("deploy", version)

    def observed_version(self) -> str | None:
        """The body as text, a JSON string or number, or `version` of a JSON object; None without `observe_url`.

        JSON's null, there or as `version`, names no version.
        """
        url = self.settings.observe_url
        if url is None:
            return None
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        server = Server(url, self.settings.observe_token(), self.call.timeout_s)
        answer = require_ok(server.get(headers=self._signed(f"GET {target}".encode())))
        text = answer.text.removeprefix("\ufeff").strip()
        try:
            found = json.loads(
                text, parse_int=str, parse_float=str
            )  # a version such as `1.10` stays as it is
        except ValueError:
            return version_named(text)  # plain text, the usual answer
        except RecursionError as error:
            raise HookFailed(f"{described(answer)} is nested too deeply to read") from error
        if isinstance(found, dict):
            if "version" not in found:
                raise HookFailed(f"{described(answer)} has no `version`")
            found = found["version"]
        if found is None:
            return None
        if isinstance(found, str):
            return version_named(found)
        raise HookFailed(f"{described(answer)} names no version")

    def rollback(self, version: Version) -> None:
        self._post("rollback", version)

    def _post(self, action: Literal["deploy", "rollback"], version: Version) -> None:
        message = {
            "action": action,
            "version": version.id,
            "path": mapped(version.path, self.settings.paths),
            "digest": version.digest,
        }
        body = json.dumps(message).encode()
        server = Server(self.settings.url, None, self.call.timeout_s)
        headers = {"Content-Type": "application/json", **self._signed(body)}
        require_ok(server.post(body=body, headers=headers))

    def _signed(self, message: bytes) -> dict[str, str]:
        secret = self.settings.token()
        assert secret is not None  # the settings require one
        timestamp = int(self.now().timestamp())
        return {
            "X-Kbsync-Timestamp": str(timestamp),
            "X-Kbsync-Signature": signature(secret, timestamp, message),
        }
