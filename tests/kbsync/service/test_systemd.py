"""The daemon and its service manager: what it sends to $NOTIFY_SOCKET, against a stand-in for systemd."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from kbsync.service.systemd import extend_timeout, notify
from tests.support.daemons import PATIENCE_S
from tests.support.micro import Micro, make


class Manager:
    """The socket of a service manager, and what was sent to it."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(PATIENCE_S)
        self.received: list[str] = []

    def until(self, line: str) -> dict[str, str]:
        """The first message from now on with this line, as assignments."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            message = self.socket.recv(4096).decode()
            self.received.append(message)
            if line in message.splitlines():
                return dict(part.split("=", 1) for part in message.splitlines())
        raise AssertionError(f"{line} was never sent: {self.received[-20:]}")


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    address = str(tmp_path / "notify")
    made = Manager(address)
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    yield made
    made.socket.close()


@contextmanager
def daemon(world: Micro) -> Iterator[subprocess.Popen[bytes]]:
    """`kbsync run`; it writes to daemon.log, and is killed at the end if it has not stopped."""
    with open(world.root / "daemon.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "kbsync", "--home", str(world.home.root), "run"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_daemon_reports_its_start_its_life_a_reload_and_its_stop(manager: Manager, tmp_path: Path) -> None:
    world = make(tmp_path / "world")
    text = world.home.config.read_text(encoding="utf-8")
    text = text.replace("[executor]", "[executor]\nstop_timeout = '3m'").replace("'error'", "'info'")
    world.home.config.write_text(text, encoding="utf-8")
    with daemon(world) as process:
        manager.until(
            "EXTEND_TIMEOUT_USEC=1800000000"
        )  # to migrate a large ledger takes longer than a start may
        manager.until("READY=1")
        manager.until("WATCHDOG=1")
        world.home.config.write_text("this is no TOML", encoding="utf-8")
        process.send_signal(signal.SIGHUP)
        while b"settings.refused" not in (world.root / "daemon.log").read_bytes():
            manager.until("WATCHDOG=1")
        assert not any("RELOADING" in message for message in manager.received), "nothing was reloaded"
        before = time.monotonic_ns() // 1000
        world.home.config.write_text(text.replace("generate = 4", "generate = 5"), encoding="utf-8")
        process.send_signal(signal.SIGHUP)
        message = manager.until("RELOADING=1")
        assert before <= int(message["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        manager.until("READY=1")
        process.send_signal(signal.SIGTERM)
        manager.until("EXTEND_TIMEOUT_USEC=210000000")  # [executor] stop_timeout, and half a minute
        manager.until("STOPPING=1")
        assert process.wait(PATIENCE_S) == 0


def test_an_abstract_socket_is_notified(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """systemd's own sockets begin with a NUL byte, which the variable shows as @."""
    name = f"kbsync-{tmp_path.name}-{id(tmp_path)}"
    manager = Manager(f"\0{name}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    notify("STATUS=waiting")
    assert manager.until("STATUS=waiting") == {"STATUS": "waiting"}
    manager.socket.close()


def test_a_service_manager_that_is_gone_does_not_end_the_daemon(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nothing"))
    extend_timeout(timedelta(seconds=1))
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify("READY=1")
