"""A server that answers as a test tells it to, and remembers all that it was sent."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable

Handle = Callable[[http.server.BaseHTTPRequestHandler], None]


class ObedientServer:
    """Answers every request by calling `handle`."""

    def __init__(self) -> None:
        server = self
        self.handle: Handle = answer()
        self.agents: list[str] = []
        self.heard: list[bytes] = []
        """Everything that reached it: request line, headers and body of each request."""

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.agents.append(self.headers.get("User-Agent", ""))
                try:
                    body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                    server.heard.append(f"{self.requestline}\n{self.headers}".encode() + body)
                    server.handle(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            do_POST = do_GET

            def log_message(self, format: str, *args: object) -> None:
                """Nobody reads it."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    @property
    def requests(self) -> int:
        return len(self.agents)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def answer(status: int = 200, body: bytes = b"{}", length: int | None = None, **headers: str) -> Handle:
    def handle(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body) if length is None else length))
        request.send_header("Content-Type", "application/sparql-results+json")
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return handle
