"""An HTTP server for probes, with limits so that idle, slow or many clients cannot block it.

At most `CLIENTS` connections are open, each on a separate thread and for at most `LONGEST_S` seconds.  A further
one replaces the oldest, so a probe is answered however many others are idle, and the daemon keeps its threads and
file descriptors for its work.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from contextlib import suppress
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

CLIENTS = 16
LONGEST_S = 10.0
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class LimitedServer(ThreadingMixIn, WSGIServer):
    """The WSGI server of the standard library, with the limits above."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = CLIENTS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._open: dict[socket.socket, float] = {}
        """Connections by their start time, oldest first."""
        self._lock = threading.Lock()
        super().__init__(*arguments, **options)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in _NO_DESCRIPTORS:
                self._hang_up(longest=0.0)  # what it holds itself goes first
                time.sleep(0.1)  # the waiting client makes the loop come back at once
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if len(self._open) >= CLIENTS:
                _shut(next(iter(self._open)))
                self._open.pop(next(iter(self._open)))
            self._open[request] = time.monotonic()
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread could be started
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called by the server's loop twice a second."""
        self._hang_up(longest=LONGEST_S)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Not logged: the client closed the connection, or it was replaced by a newer one."""

    def server_close(self) -> None:
        self._hang_up(longest=0.0)
        super().server_close()

    def _hang_up(self, longest: float) -> None:
        before = time.monotonic() - longest
        with self._lock:
            for request, began in list(self._open.items()):
                if began <= before:
                    _shut(request)


class LimitedServer6(LimitedServer):
    address_family = socket.AF_INET6


class QuietHandler(WSGIRequestHandler):
    """Requests of probes are not logged, since they come every few seconds."""

    timeout = LONGEST_S

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _shut(request: socket.socket) -> None:
    """Shut down both directions, so that the thread that reads from it returns and closes it."""
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)
