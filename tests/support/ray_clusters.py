"""Ray clusters on this machine, in processes of their own that can be killed like machines."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

MARK = "RAY_TEST_NODE"
ACTOR = b"ray::Builder"
"""How the command line of an actor's process begins."""
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
"""The variables with which a process may use these clusters."""
PATIENCE_S = 240.0
"""How long Ray may take to start on a busy machine."""


@dataclass
class Node:
    """One node: the processes that descend from one `ray start`, which inherit its mark."""

    arguments: tuple[str, ...]
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="ray-")))
    """Short, since it contains sockets."""

    def start(self) -> None:
        """Returns when the node is up; tries again if Ray gives up, which it does after half a minute."""
        deadline = time.monotonic() + PATIENCE_S
        while not self._starts():
            assert time.monotonic() < deadline, f"Ray did not start: {self._log.read_text(errors='replace')}"
            self.kill()

    def _starts(self) -> bool:
        """Whether one attempt succeeds."""
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                [Path(sys.executable).with_name("ray"), "start", *self.arguments, *_QUIET, "--block"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **TOKEN, MARK: self.mark, "RAY_USAGE_STATS_ENABLED": "0"},
                start_new_session=True,
            )
        while b"Ray runtime started" not in self._log.read_bytes():
            if process.poll() is not None:
                return False
            time.sleep(0.1)
        return True

    @property
    def _log(self) -> Path:
        return self.directory / "started.log"

    def processes(self, title: bytes = b"") -> list[int]:
        """The node's processes, those whose command line begins with `title`."""
        return marked(self.mark, title)

    def actors(self) -> list[int]:
        return self.processes(ACTOR)

    def kill(self) -> None:
        """SIGKILL to everything, until nothing is left."""
        while pids := self.processes():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
            time.sleep(0.05)

    def end(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


def marked(mark: str, title: bytes = b"") -> list[int]:
    """The processes that inherited a mark, those whose command line begins with `title`."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in (process / "environ").read_bytes():
                line = (process / "cmdline").read_bytes()
                if line.startswith(title):
                    found.append(int(process.name))
    return sorted(found)


_QUIET = ("--disable-usage-stats", "--min-worker-port=0", "--max-worker-port=0")


def head(cpus: float, port: int | None = None) -> tuple[Node, str]:
    """A node that is a cluster's head, not started yet, with its address."""
    port = port or free_port()
    node = Node(("--head", f"--port={port}", f"--num-cpus={cpus:g}"))
    node.arguments += (f"--temp-dir={node.directory}", "--include-dashboard=false")
    return node, f"127.0.0.1:{port}"


def member(address: str, cpus: float) -> Node:
    """A further node of the cluster whose head is at `address`, not started yet."""
    return Node((f"--address={address}", f"--num-cpus={cpus:g}"))


@contextmanager
def started(node: Node) -> Iterator[Node]:
    try:
        node.start()
        yield node
    finally:
        node.end()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
