"""A proxy that misbehaves by seed: everything that a public SPARQL endpoint has been seen to do.

It stands in front of a real server.  Each request draws a fault, or none, from a seeded generator;
after `most` faults it behaves, so that every schedule ends.
"""

from __future__ import annotations

import http.server
import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from dataclasses import dataclass

FAULTS = (
    "429",
    "503",
    "503 with Retry-After",
    "500",
    "drip",
    "cut body",
    "cut stream",
    "cut JSON",
    "wrong content type",
    "HTML with the right content type",
    "reset",
    "doubled rows",
    "shuffled rows",
    "an older answer",
)
_DRIP_S = 0.5
"""How long a dripping answer takes; longer than the deadline of those who test with it."""
_REMEMBERED = 4
"""An older answer is at most so many questions of its kind old: replicas lag, they do not hibernate."""


@dataclass(frozen=True)
class Reply:
    status: int
    content_type: str
    body: bytes


class FaultProxy:
    """Listens on a free port until closed; `behave` sets the schedule."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._lock = threading.Lock()
        self._random = random.Random(0)
        self._left = 0
        self._rate = 0.0
        self._kinds: tuple[str, ...] = ()
        self._older: dict[bytes, deque[Reply]] = {}
        self.dealt: list[str] = []
        """Every fault so far."""
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/query"

    def behave(
        self, seed: int = 0, most: int = 0, rate: float = 0.0, kinds: tuple[str, ...] = FAULTS
    ) -> None:
        """From now on: each request meets a fault with probability `rate`, `most` in all."""
        with self._lock:
            self._random, self._left, self._rate, self._kinds = random.Random(seed), most, rate, kinds
            self._older.clear()
            self.dealt = []

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _draw(self) -> tuple[str | None, random.Random]:
        with self._lock:
            own = random.Random(self._random.random())
            if self._left and self._random.random() < self._rate:
                self._left -= 1
                self.dealt.append(self._random.choice(self._kinds))
                return self.dealt[-1], own
            return None, own

    def _ask(self, body: bytes, headers: dict[str, str]) -> Reply:
        request = urllib.request.Request(self._upstream, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return Reply(answer.status, answer.headers["Content-Type"], answer.read())
        except urllib.error.HTTPError as error:
            return Reply(error.code, error.headers["Content-Type"], error.read())

    def _remember(self, question: bytes, reply: Reply) -> Reply:
        """Keeps the reply and returns the oldest one kept for the same question."""
        with self._lock:
            kept = self._older.setdefault(question, deque(maxlen=_REMEMBERED))
            kept.append(reply)
            return kept[0]

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                question = self.rfile.read(int(self.headers["Content-Length"]))
                fault, own = proxy._draw()
                wanted = {
                    name: self.headers[name] for name in ("Accept", "Content-Type") if name in self.headers
                }
                if fault in ("429", "503", "503 with Retry-After", "500", "reset"):
                    self._refuse(fault, own)
                    return
                reply = proxy._ask(question, wanted)
                oldest = proxy._remember(question, reply)
                try:
                    self._answer(fault, oldest if fault == "an older answer" else reply, own)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client had enough

            def _refuse(self, fault: str, own: random.Random) -> None:
                if fault == "reset":
                    self.connection.close()
                    return
                self.send_response(int(fault[:3]))
                if fault in ("429", "503 with Retry-After"):
                    self.send_header("Retry-After", str(own.randint(1, 90)))
                self.send_header("Content-Length", "5")
                self.end_headers()
                self.wfile.write(b"sorry")

            def _answer(self, fault: str | None, reply: Reply, own: random.Random) -> None:
                body, content_type = reply.body, reply.content_type
                length: int | None = len(body)
                if fault in ("doubled rows", "shuffled rows"):
                    body = _rearranged(body, fault, own)
                    length = len(body)
                elif fault == "wrong content type":
                    content_type = "text/html"
                elif fault == "HTML with the right content type":
                    body = b"<html>back soon</html>"
                    length = len(body)
                elif fault in ("cut body", "cut stream", "cut JSON"):
                    body = body[: own.randrange(len(body))]
                    length = {"cut body": length, "cut stream": None, "cut JSON": len(body)}[fault]
                self.send_response(reply.status)
                self.send_header("Content-Type", content_type)
                if length is not None:
                    self.send_header("Content-Length", str(length))
                self.end_headers()
                if fault == "drip":
                    self._drip(body)
                else:
                    self.wfile.write(body)
                self.close_connection = True

            def _drip(self, body: bytes) -> None:
                for n in range(10):
                    self.wfile.write(body[n : n + 1])
                    self.wfile.flush()
                    time.sleep(_DRIP_S / 10)
                self.wfile.write(body[10:])

            def log_message(self, format: str, *args: object) -> None:
                """Nobody reads it."""

        return Handler


def _rearranged(body: bytes, fault: str, own: random.Random) -> bytes:
    answer = json.loads(body)
    rows = answer["results"]["bindings"]
    if fault == "doubled rows":
        rows += own.sample(rows, len(rows) // 2)
    own.shuffle(rows)
    return json.dumps(answer).encode()
