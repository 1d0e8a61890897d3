"""Disks that are full and bytes that flip: the run ends as failed, live stays, and the next run recovers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.fault_world import World, check_whole, tables


def wound(path: Path) -> None:
    """One bit of one byte in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.chmod(0o644)
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-100])


def candidate(world: World) -> Path:
    """The newest checkpoint's directory."""
    return max(world.home.checkpoints.glob("[0-9]*"), key=lambda path: path.stat().st_mtime_ns)


@pytest.mark.parametrize("point", ["after-built", pytest.param("after-judged", marks=pytest.mark.slow)])
@pytest.mark.parametrize("harm", [wound, pytest.param(cut, marks=pytest.mark.slow)])
def test_a_candidate_that_was_damaged_after_it_was_judged_is_not_promoted(
    harm: Callable[[Path], None], point: str, world: World, twin: World
) -> None:
    assert world.start(crash=f"kbsync.lifecycle:{point}@2").wait() < 0
    before = world.home.live.readlink()
    harm(candidate(world) / "editable.safetensors")
    (damaged, again) = world.start().end()
    assert damaged[:2] == (2, "failed")
    assert "is damaged" in damaged[2]
    # What was built again from the cached δs is what the twin has.
    assert again[:2] == (3, "deployed")
    assert before != world.home.live.readlink()
    check_whole(world, started=True)
    assert tables(world)["live"][0] == tables(twin)["live"][0]


@pytest.mark.slow
def test_a_lost_or_unreadable_report_ends_the_run(world: World) -> None:
    assert world.start(crash="kbsync.lifecycle:after-building").wait() < 0
    (world.home.run(2) / "round-1" / "report.json").write_text("{}")
    (damaged, again) = world.start().end()
    assert damaged[:2] == (2, "failed")
    assert again[1] == "deployed"
    check_whole(world, started=True)


@pytest.fixture
def small(tmp_path: Path, template: World) -> Iterator[World]:
    """A world whose checkpoints lie on a file system with little room; the ledger's has enough."""
    world = template.copy(tmp_path / "world")
    aside = tmp_path / "aside"
    world.home.checkpoints.rename(aside)
    world.home.checkpoints.mkdir()
    size = sum(path.stat().st_size for path in aside.rglob("*") if path.is_file()) + (64 << 10)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(world.home.checkpoints)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.strip()}")
    try:
        subprocess.run(["cp", "-a", f"{aside}/.", str(world.home.checkpoints)], check=True)
        yield world
    finally:
        subprocess.run(["umount", str(world.home.checkpoints)], check=True)


def test_no_space_for_a_checkpoint_fails_the_run_and_the_next_one_recovers(small: World) -> None:
    before = small.home.live.readlink()
    (run,) = small.start().end()
    assert run[1] == "failed"
    assert "No space left on device" in run[2]
    assert small.home.live.readlink() == before
    check_whole(small, started=True)
    subprocess.run(["mount", "-o", "remount,size=64m", str(small.home.checkpoints)], check=True)
    finished = small.deltas()
    (again,) = small.live_through()
    assert again[1] == "deployed"
    assert finished.items() <= small.deltas().items()
    check_whole(small, started=True)


@pytest.mark.slow
def test_no_space_for_the_ledger_stops_the_cycle_and_the_next_start_goes_on(
    tmp_path: Path, template: World, twin: World
) -> None:
    """The run cannot even be failed: nothing is written down, so nothing is lost."""
    world = template.copy(tmp_path / "world")
    place = tmp_path / "ledger"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        shutil.move(world.home.database, place / "kbsync.db")
        world.url = f"sqlite:///{place / 'kbsync.db'}"
        world.configure("[executor]", f"[state]\nurl = '{world.url}'\n\n[executor]")
        used = sum(path.stat().st_size for path in place.iterdir())
        filler = place / "filler"
        filler.write_bytes(bytes((64 << 20) - used - (192 << 10)))
        life = world.start()
        assert life.wait() == 1
        assert "free some space" in life.said()
        filler.unlink()
        world.live_through()
        check_whole(world, started=True)
        assert tables(world)["live"] == tables(twin)["live"]
    finally:
        subprocess.run(["umount", str(place)], check=True)
