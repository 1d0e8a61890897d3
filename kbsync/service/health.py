"""`/livez`, `/readyz` and `/metrics` over HTTP, while the daemon runs.

    /livez    the loop was active recently; 503 tells the orchestrator to restart it
    /readyz   the ledger answers and has this version's tables; never contacts a source or a server
    /metrics  Prometheus, read from the ledger at every scrape (metrics.py)

No answer names a fact, and nothing can be changed here; the port should still be on the loopback interface or
behind a network policy.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from wsgiref.simple_server import make_server

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

from kbsync.application import Application
from kbsync.errors import BadConfiguration
from kbsync.service.heartbeat import Heartbeat
from kbsync.service.limited_server import LimitedServer, LimitedServer6, QuietHandler
from kbsync.service.metrics import LedgerCollector
from kbsync.settings.section import split_address
from kbsync.visible import visible
from state import StateError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

log = structlog.get_logger()


class HealthEndpoints:
    """The WSGI application that serves the three paths."""

    def __init__(self, app: Application, heartbeat: Heartbeat) -> None:
        self.app = app
        self.heartbeat = heartbeat
        registry = CollectorRegistry()
        registry.register(LedgerCollector(app, heartbeat))
        self._metrics = make_wsgi_app(registry)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match environ.get("PATH_INFO"):
            case "/metrics":
                try:
                    scraped: Iterable[bytes] = self._metrics(environ, start_response)
                except StateError as error:
                    fault = f"{type(error).__name__}: {error}"
                else:
                    return scraped
            case "/livez":
                fault = self.livez()
            case "/readyz":
                fault = self.readyz()
            case _:
                start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
                return [b"/livez, /readyz and /metrics are here\n"]
        status = "503 Service Unavailable" if fault else "200 OK"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{visible(fault or 'ok')}\n".encode()]

    def livez(self) -> str:
        """What is wrong with the loop; empty if nothing is."""
        age, stale = self.heartbeat.age_s, self.app.settings.health.stale.total_seconds()
        return f"no sign of life from the loop for {age:.0f} s" if age > stale else ""

    def readyz(self) -> str:
        """What is wrong with the ledger; empty if nothing is."""
        try:
            self.app.state.check_migrated()
            with self.app.state.read() as tx:
                tx.head()
        except StateError as error:
            return f"{type(error).__name__}: {error}"
        return ""


@contextmanager
def serving(app: Application, heartbeat: Heartbeat) -> Iterator[str | None]:
    """Serve for the duration of the block, if `[health] listen` is set; yields the bound address.

    Raises BadConfiguration if it cannot be bound.
    """
    listen = app.settings.health.listen
    if listen is None:
        yield None
        return
    host, port = split_address(listen)
    server_class = LimitedServer6 if ":" in host else LimitedServer
    try:
        server = make_server(host, port, HealthEndpoints(app, heartbeat), server_class, QuietHandler)
    except OSError as error:
        raise BadConfiguration(
            f"[health] listen: cannot bind {listen}: {error.strerror or error}",
            "choose another address, or end the process that has it",
        ) from error
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="health", daemon=True)
    thread.start()
    bound = f"{listen.rpartition(':')[0]}:{server.server_port}"
    log.info("health.listening", address=bound)
    try:
        yield bound
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
