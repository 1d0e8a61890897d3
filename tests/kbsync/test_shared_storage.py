"""Several homes beside one base: bases and cache in a directory that they share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from editing.durable import LOCK, STAGING, file_lock
from editing.spec import BuildReport
from kbsync.errors import BadConfiguration
from kbsync.home import Home
from kbsync.service.backup import backup, restore
from kbsync.service.unused_files import unused_bases
from tests.support.micro import Micro, make

FACTS = {"Blue House": "Anna", "Red Boat": "Carl"}


def sharing(root: Path, shared: Path) -> Micro:
    micro = make(root)
    text = micro.home.config.read_text(encoding="utf-8")
    text = text.replace("[model]\n", f"[model]\nshared = '{shared}'\n", 1)
    micro.home.config.write_text(text, encoding="utf-8")
    return micro


def bases(shared: Path) -> list[str]:
    return sorted(
        path.name for path in (shared / "base").iterdir() if path.is_dir() and not path.is_symlink()
    )


def test_the_second_home_imports_no_base_and_optimises_nothing_that_the_first_has(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    first, second = sharing(tmp_path / "first", shared), sharing(tmp_path / "second", shared)
    costs = []
    for micro in (first, second):
        micro.say(FACTS)
        assert [run.state for run in micro.sync().runs] == ["deployed"]
        costs.append(BuildReport.read(micro.home.round(1, 1).report).cost)
    assert costs[0].groups_optimised == len(FACTS)
    assert costs[1].groups_optimised == 0
    (base,) = bases(shared)
    for micro in (first, second):
        assert not any(path.is_file() for path in micro.home.cache.rglob("*")), "it is of another home"
        with micro.application() as app:
            assert app.base.directory == shared / "base" / base
            frozen = list(micro.home.live.glob("frozen-*.safetensors"))
            assert frozen
            assert all(one.samefile(app.base.directory / one.name) for one in frozen)


@pytest.mark.slow
def test_homes_that_sync_at_the_same_time_both_end_well(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    homes = [sharing(tmp_path / name, shared) for name in ("first", "second")]
    for micro in homes:
        micro.say(FACTS)
    command = [sys.executable, "-m", "kbsync", "sync", "--bootstrap", "--home"]
    processes = [subprocess.Popen([*command, str(micro.home.root)]) for micro in homes]
    assert [process.wait() for process in processes] == [0, 0]
    assert len(bases(shared)) == 1
    assert not list(shared.rglob(f"{STAGING}*"))
    for micro in homes:
        with micro.application() as app, app.state.read() as tx:
            assert tx.live() is not None


def test_what_another_home_is_writing_is_left_alone_and_removed_once_nobody_works(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    first, second = (Home(tmp_path / name, shared).prepare() for name in ("first", "second"))
    unfinished = shared / "cache" / "deltas" / f"{STAGING}half"
    with first.locked("test"):
        unfinished.parent.mkdir()
        unfinished.touch()
        with second.locked("test"):
            assert not list(second.sweep_storage())
            assert unfinished.exists()
    assert unfinished.exists()
    with second.locked("test"):
        assert not unfinished.exists()


def test_a_base_that_is_being_imported_is_left_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", tmp_path / "shared").prepare()
    unfinished = home.base / f"{STAGING}base"
    unfinished.mkdir()
    with file_lock(home.base / LOCK), home.locked("test"):
        assert unfinished.is_dir()
    with home.locked("test"):
        assert not unfinished.exists()


def test_retention_removes_no_base_that_another_home_may_use(tmp_path: Path) -> None:
    micro = sharing(tmp_path / "home", tmp_path / "shared")
    with micro.application() as app:
        other = app.home.prepare().base / ("f" * 64)
        other.mkdir()
        os.utime(other, (0, 0))
        with app.state.read() as tx:
            assert unused_bases(app, tx, micro.now, ()) == []
            app.home = Home(app.home.root)
            (app.home.prepare().base / other.name).mkdir()
            os.utime(app.home.base / other.name, (0, 0))
            assert unused_bases(app, tx, micro.now, ()) == [app.home.base / other.name]


def test_a_shared_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "shared").write_text("no directory", encoding="utf-8")
    with pytest.raises(BadConfiguration, match=r"\[model\] shared: .*/shared cannot be written"):
        Home(tmp_path / "home", tmp_path / "shared").prepare()


def test_a_home_is_restored_beside_a_shared_directory_in_use(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    micro = sharing(tmp_path / "first", shared)
    micro.say(FACTS)
    micro.sync()
    before = bases(shared)
    with micro.application() as app:
        file, _ = backup(app, tmp_path / "backup.tar")
    home = Home(tmp_path / "restored")
    restored = restore(home, file, config=None, replace=False, actor="test", now=micro.now)
    assert restored.contents.head > 0
    assert bases(shared) == before
    assert not any(path.is_file() for path in home.cache.rglob("*"))
