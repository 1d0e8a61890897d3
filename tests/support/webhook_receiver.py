"""A receiver of notifications: a real server that verifies signatures with the `standardwebhooks` package."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError


@dataclass
class Receiver:
    """What was received, and how it is answered."""

    secret: str
    url: str = ""
    statuses: list[int] = field(default_factory=list)
    """Answers to the next requests; 204 after them."""
    blocked: threading.Event | None = None
    """Requests are answered when it is set."""
    received: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """`webhook-id` and body of everything that was accepted."""
    attempts: list[tuple[str, bytes]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def verified(self, headers: dict[str, str], body: bytes) -> dict[str, Any] | None:
        """The content, if its signature is right; the age of the timestamp is not judged, since clocks are turned."""
        small = {name.lower(): value for name, value in headers.items()}
        now = str(int(datetime.now(UTC).timestamp()))
        hook = Webhook(self.secret)
        at = datetime.fromtimestamp(int(small["webhook-timestamp"]), UTC).replace(tzinfo=None)
        expected = hook.sign(small["webhook-id"], at, body.decode())
        if expected not in small["webhook-signature"].split():
            return None
        # What the package itself says about the same message, signed now.
        fresh = hook.sign(
            small["webhook-id"], datetime.fromtimestamp(int(now), UTC).replace(tzinfo=None), body.decode()
        )
        again = {"webhook-id": small["webhook-id"], "webhook-timestamp": now, "webhook-signature": fresh}
        try:
            return dict(hook.verify(body, again))
        except WebhookVerificationError:
            return None

    def answer(self, headers: dict[str, str], body: bytes) -> int:
        if self.blocked is not None:
            self.blocked.wait(60)
        self.headers.append(headers)
        self.attempts.append((headers.get("webhook-id", ""), body))
        if self.statuses and (status := self.statuses.pop(0)) >= 300:
            return status
        content = self.verified(headers, body)
        if content is None:
            return 401
        self.received.append((headers["webhook-id"], content))
        return 204


@contextmanager
def receiving(secret: str) -> Iterator[Receiver]:
    """A receiver on a free port, while the block lasts."""
    receiver = Receiver(secret)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.answer(dict(self.headers.items()), body)
            self.send_response(status)
            if status in (301, 302, 307):
                self.send_header("Location", "http://192.0.2.1/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
