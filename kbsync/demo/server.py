"""A real SPARQL server for the demo: `oxigraph serve` as a subprocess on a free loopback port."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from kbsync.errors import BadConfiguration, KbsyncError

START_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class SparqlServer:
    """A running server; `query_url` is the endpoint for a connector."""

    base_url: str

    @property
    def query_url(self) -> str:
        return f"{self.base_url}/query"

    def load(self, ntriples: str) -> None:
        """Add the triples to the default graph; nothing is replaced."""
        self._post("/store?default", ntriples, "application/n-triples")

    def update(self, sparql: str) -> None:
        self._post("/update", sparql, "application/sparql-update")

    def _post(self, path: str, body: str, content_type: str) -> None:
        answer = httpx.post(
            self.base_url + path, content=body.encode(), headers={"Content-Type": content_type}, timeout=60
        )
        if answer.is_error:
            raise KbsyncError(f"the SPARQL server refused {path}: {answer.status_code} {answer.text[:200]}")


@contextmanager
def serving(location: Path | None = None, port: int | None = None) -> Iterator[SparqlServer]:
    """Run a server within the block, in memory or with its store in `location`."""
    port = port or free_port()
    command = [_executable(), "serve", "--bind", f"127.0.0.1:{port}"]
    if location is not None:
        command += ["--location", str(location)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        server = SparqlServer(f"http://127.0.0.1:{port}")
        _wait(server, process)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _executable() -> str:
    beside = Path(sys.executable).with_name("oxigraph")
    found = str(beside) if beside.exists() else shutil.which("oxigraph")
    if found is None:
        raise BadConfiguration("the SPARQL server `oxigraph` is not installed", "pip install oxigraph")
    return found


def _wait(server: SparqlServer, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise KbsyncError(f"the SPARQL server ended at once with exit code {process.returncode}")
        try:
            httpx.get(server.base_url, timeout=1)
        except httpx.TransportError:
            time.sleep(0.02)
        else:
            return
    raise KbsyncError(f"the SPARQL server at {server.base_url} did not answer within {START_TIMEOUT_S:.0f} s")
