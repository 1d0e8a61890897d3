"""A server on loopback that answers as `Hostile` says, drips, and redirects to where nobody must go."""

from __future__ import annotations

import http.server
import random
import socket
import threading
import time
import urllib.parse

from tests.support.hostile_answers import Hostile, Reply

_DRIP_S = 2.0
"""Longer than the deadline of those who test with it."""


class Listener:
    """A socket that records whatever reaches it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._listen, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"

    def close(self) -> None:
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                connected, _ = self._socket.accept()
            except OSError:
                return  # closed
            with connected:
                connected.settimeout(1)
                self.heard.append(b"a connection")
                try:
                    self.heard.append(connected.recv(65_536))
                except OSError:
                    continue


class HostileServer:
    """SPARQL at /sparql, entity data at /entity, an event stream at /stream."""

    def __init__(self, seed: int, elsewhere: str) -> None:
        self._lock = threading.Lock()
        self._chance = random.Random(seed)
        self._elsewhere = elsewhere
        self.answered = 0
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _draw(self) -> Hostile:
        with self._lock:
            self.answered += 1
            own = random.Random(self._chance.random())
        return Hostile(own, self._elsewhere, rate=own.choice((0.1, 0.3, 1.0)))

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hostile = server._draw()
                try:
                    sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                    if hostile.chance.random() < 0.02:
                        self._drip(hostile)
                    elif self.path.startswith("/stream"):
                        self._stream(hostile)
                    elif self.path.startswith("/entity"):
                        self._send(hostile.entity())
                    else:
                        self._send(hostile.sparql(urllib.parse.unquote_plus(sent.decode())))
                except OSError:
                    self.close_connection = True  # the client had enough

            do_POST = do_GET

            def _send(self, reply: Reply) -> None:
                head = f"HTTP/1.1 {reply.status} So\r\nConnection: close\r\n"
                head += "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
                self.wfile.write(head.encode() + f"Content-Length: {len(reply.body)}\r\n\r\n".encode())
                self.wfile.write(reply.body)
                self.close_connection = True

            def _stream(self, hostile: Hostile) -> None:
                if hostile.chance.random() < 0.2:
                    self._send(hostile.refusal())
                    return
                self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
                until = time.monotonic() + hostile.chance.choice((0, 0, 0.1, _DRIP_S))
                while True:
                    self.wfile.write(hostile.events() if hostile.chance.random() < 0.5 else b": still here\n")
                    if time.monotonic() >= until:
                        break
                    time.sleep(0.02)
                self.close_connection = True

            def _drip(self, hostile: Hostile) -> None:
                """Bytes of headers or of a body, never silent and never done."""
                self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: " + hostile.chance.choice((b"", b"x\r\n\r\n")))
                for _ in range(int(_DRIP_S / 0.02)):
                    self.wfile.write(b"x")
                    self.wfile.flush()
                    time.sleep(0.02)
                self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                """Nobody reads it."""

        return Handler
