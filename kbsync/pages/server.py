"""Serving the pages: on their own (`kbsync serve`), or in a thread of the daemon (`[pages] listen`)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn

from kbsync.application import Application
from kbsync.errors import BadConfiguration
from kbsync.pages.access import Access
from kbsync.pages.app import create_app
from kbsync.service.heartbeat import Heartbeat
from kbsync.settings.section import join_address, split_address

log = structlog.get_logger()

CLIENTS = 200
"""Connections that are served at once; a further one is answered with 503."""
STOP_S = 5.0


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: whoever serves the pages has handlers of its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(listen: str) -> socket.socket:
    """A listening socket; raises BadConfiguration if the address cannot be bound."""
    host, port = split_address(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(CLIENTS)
    except OSError as error:
        made.close()
        raise BadConfiguration(
            f"the pages cannot be served on {listen}: {error.strerror or error}",
            "choose another port with --port, or end the process that has it",
        ) from error
    return made


@contextmanager
def serving(app: Application, listen: str, heartbeat: Heartbeat | None = None) -> Iterator[str]:
    """Serve the pages for the duration of the block, in a thread; yields their address.

    `app` must be this server's own, since the daemon changes the one that it works with.  `heartbeat` is that of the
    daemon in whose process the pages are served: it carries out what they ask for; without it this process does.

    Raises BadConfiguration for an address that cannot be bound, or that needs an authentication which is not set up.
    """
    host, _ = split_address(listen)
    access = Access.at(app, host)
    web = create_app(app, access, heartbeat)
    bound = bind(listen)
    config = uvicorn.Config(
        web,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,  # who the peer is decides whether it may name the user
        limit_concurrency=CLIENTS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=int(STOP_S),
        h11_max_incomplete_event_size=32 * 1024,
    )
    server = _Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, name="pages", daemon=True)
    thread.start()
    address = f"http://{join_address(host, bound.getsockname()[1])}"
    log.info("pages.listening", address=address)
    try:
        yield address
    finally:
        web.state.errands.finish(STOP_S)
        server.should_exit = True
        thread.join(2 * STOP_S)
        bound.close()
