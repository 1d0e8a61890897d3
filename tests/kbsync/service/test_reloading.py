"""SIGHUP: new settings come into force if they can work, and never end the daemon."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemons import Served, served


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
