"""The kind `webhook`: a signed POST tells of a version, a GET asks which one is served.

    POST <url>
    Content-Type: application/json
    X-Kbsync-Timestamp: 1767225600
    X-Kbsync-Signature: sha256=<hex HMAC-SHA256 of "<timestamp>.<body>" under the token>

    {"action": "deploy", "version": "3-1@9f86d081884c", "path": "/models/3-1", "digest": "9f86…"}

The time is signed too, so that a receiver can refuse what was recorded and sent again.  RFC 2104.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import datetime
from typing import Literal

from kbsync.deployment.hooks import Call, HookFailed, Version, mapped
from kbsync.deployment.http import Server, require_ok
from kbsync.settings.deploy import WebhookSettings


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """The value of X-Kbsync-Signature."""
    signed = f"{timestamp}.".encode() + body
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


class WebhookHook:
    def __init__(self, settings: WebhookSettings, call: Call, now: Callable[[], datetime]) -> None:
        self.settings = settings
        self.call = call
        self.now = now

    def deploy(self, version: Version) -> None:
        self._tell("deploy", version)

    def observed_version(self) -> str | None:
        """The body as text, or `version` of a JSON object; None without `observe_url`."""
        if self.settings.observe_url is None:
            return None
        server = Server(self.settings.observe_url, self.settings.token(), self.call.timeout_s)
        text = require_ok(server.get()).text.strip()
        if not text.startswith("{"):
            return text
        try:
            return str(json.loads(text)["version"])
        except (ValueError, KeyError) as error:
            raise HookFailed(f"GET {self.settings.observe_url}: no `version` in {text[:200]!r}") from error

    def rollback(self, version: Version) -> None:
        self._tell("rollback", version)

    def _tell(self, action: Literal["deploy", "rollback"], version: Version) -> None:
        secret = self.settings.token()
        assert secret is not None
        told = {
            "action": action,
            "version": version.id,
            "path": mapped(version.path, self.settings.paths),
            "digest": version.digest,
        }
        body = json.dumps(told).encode()
        timestamp = int(self.now().timestamp())
        headers = {
            "Content-Type": "application/json",
            "X-Kbsync-Timestamp": str(timestamp),
            "X-Kbsync-Signature": signature(secret, timestamp, body),
        }
        server = Server(self.settings.url, None, self.call.timeout_s)
        require_ok(server.post(body=body, headers=headers))
