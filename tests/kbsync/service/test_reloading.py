"""SIGHUP: new settings come into force if they can work, and never end the daemon."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemons import PATIENCE_S, Served, served


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Served]:
    made = served(tmp_path / "world")
    yield made
    made.end()


def test_a_hangup_brings_settings_that_work_and_refuses_those_that_do_not(world: Served) -> None:
    good = world.home.config.read_text()

    def said(what: str) -> int:
        return (world.root / "daemon.log").read_text(encoding="utf-8").count(what)

    with world.daemon() as daemon:
        for bad in (
            "this is no TOML",
            good.replace("[plan]", "[plan]\nno_such_key = 1"),
            good + "\n[gates.x]\n",
            "a = " + "[" * 100_000,
            good.replace("min_pending = 1", f"min_pending = {'9' * 5000}"),
        ):
            before = said("settings.refused")
            world.home.config.write_text(bad)
            daemon.send_signal(signal.SIGHUP)
            world.until(lambda before=before: said("settings.refused") > before)
            assert daemon.returncode is None
        assert said("daemon.started") == 1, "the old settings stay"
        world.home.config.write_text(good.replace("min_pending = 1", "min_pending = 1\nmax_wait = '1h'"))
        daemon.send_signal(signal.SIGHUP)
        world.until(lambda: said("daemon.started") == 2)
        world.say({"Blue House": "Anna"})
        done = world.run("sync")
        assert done.returncode == 0, done.stderr
    assert daemon.returncode == 0


@pytest.mark.parametrize("fault", ["another program has the port", "the ledger is no database"])
def test_settings_that_do_not_let_the_daemon_start_leave_the_old_ones(world: Served, fault: str) -> None:
    """No check of the settings finds that out before."""
    good = world.home.config.read_text()
    said = world.root / "daemon.log"
    with socket.create_server(("127.0.0.1", 0)) as other, world.daemon() as daemon:
        port = other.getsockname()[1]
        bad = {
            "another program has the port": f"[health]\nlisten = '127.0.0.1:{port}'\n",
            "the ledger is no database": f"[state]\nurl = 'sqlite:///{world.root}/corpus.txt'\n",
        }
        world.home.config.write_text(good.replace("[log]", f"{bad[fault]}\n[log]"))
        daemon.send_signal(signal.SIGHUP)
        world.until(lambda: said.read_text().count("daemon.started") == 2)
        assert "settings.refused" in said.read_text()
        world.home.config.write_text(good)
        world.say({"Blue House": "Anna"})
        assert world.run("sync").returncode == 0
    assert daemon.returncode == 0


def test_no_signal_is_lost_while_settings_are_read(world: Served) -> None:
    """SIGHUP arrives while settings are read, twice; then SIGTERM does."""
    script = f"""
import os, signal
from contextlib import nullcontext
from kbsync.home import Home
from kbsync.service import reloading
from kbsync.settings.loading import load
sent = [signal.SIGHUP, signal.SIGHUP, signal.SIGTERM]
home = Home(__import__("pathlib").Path({str(world.home.root)!r}))
def read():
    settings = load(home.config, {{}})
    print("read", flush=True)
    os.kill(os.getpid(), sent.pop(0))
    return settings
reloading.run(home, read, lambda app, heartbeat: nullcontext())
"""
    command = [sys.executable, "-c", script]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("read") == 3
