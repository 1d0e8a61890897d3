"""A real SPARQL server on loopback."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from connectors.observations import Connector
from tests.support.wikibase_world import World

Open = Callable[..., Connector]
AGENT = "kbsync-tests/1.0 (mailto:tests@kbsync.example)"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_until_up(url: str, process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode} instead of answering at {url}")
        try:
            httpx.get(url)
            return
        except httpx.TransportError:
            time.sleep(0.02)
    raise RuntimeError(f"no answer from {url} within {seconds} s")


class SparqlServer:
    """A running SPARQL server."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.endpoint = f"{base}/query"
        self._client = httpx.Client()  # making one costs more than most tests

    def serve(self, world: World | str) -> None:
        """Replace everything that the server holds."""
        turtle = world if isinstance(world, str) else world.turtle()
        answer = self._client.put(
            f"{self.base}/store?default", content=turtle.encode(), headers={"Content-Type": "text/turtle"}
        )
        answer.raise_for_status()


@contextmanager
def running_oxigraph(*options: str) -> Iterator[SparqlServer]:
    """An oxigraph server of one's own, in memory."""
    base = f"http://127.0.0.1:{(port := free_port())}"
    binary = Path(sys.executable).parent / "oxigraph"
    command = [binary, "serve", "--bind", f"127.0.0.1:{port}", *options]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_until_up(f"{base}/", process)
        yield SparqlServer(base)
    finally:
        process.terminate()
        process.wait(10)
