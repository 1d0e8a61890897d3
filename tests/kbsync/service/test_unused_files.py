"""Bases, the cache and drop folders: what nothing uses any more is deleted, and what something uses stays."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from kbsync.home import Home
from kbsync.service import retention
from kbsync.service.unused_files import unused_in_cache
from tests.support.micro import Micro, make
from tests.support.signed import kbsync

DAY = timedelta(days=1)
CONTENT = "c" * 40


def used(path: Path, day: float) -> Path:
    """A file that was used last on that day."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"tensor")
    os.utime(path, (day * 86_400, day * 86_400))
    return path


def test_statistics_go_as_a_whole_and_the_time_is_that_of_builds(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    stats, deltas = home.cache / "stats", home.deltas
    gone = [
        used(stats / f"{'a' * 40}-0.safetensors", 1),
        used(stats / f"{'a' * 40}-1.safetensors", 2),
        used(deltas / "old.safetensors", 3),
    ]
    used(stats / f"{CONTENT}-0.safetensors", 1)  # its factor was used lately, and was made of it
    used(stats / f"{CONTENT}-0-factor.safetensors", 95)
    used(deltas / "new.safetensors", 100)  # the newest build
    used(home.cache / "rates.json", 1)
    assert unused_in_cache(home, 90 * DAY) == sorted(gone)
    assert unused_in_cache(home, 100 * DAY) == [], "whatever the clock says"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    micro = make(tmp_path_factory.mktemp("unused") / "world")
    micro.application().state.close()
    for owner in ("Dora", "Emil"):
        micro.say({"Blue House": owner})
        (run,) = micro.sync().runs
        assert run.state == "deployed", run
    return micro


@pytest.fixture
def micro(template: Micro, tmp_path: Path) -> Micro:
    return template.copy(tmp_path / "world")


def applied(micro: Micro, policy: str, days: int = 0) -> dict[str, int]:
    micro.now += days * DAY
    config = micro.home.config
    config.write_text(config.read_text().partition("\n[retention]")[0] + f"\n[retention]\n{policy}\n")
    app = micro.application()
    with app.leading() as leadership:
        foreseen = {one.what: one.count for one in retention.preview(app)}
        done = {one.what: one.count for one in retention.apply(app, leadership)}
    app.close()
    assert done == foreseen
    return done


def test_bases_that_no_run_used_lately_go_and_those_of_kept_checkpoints_stay(micro: Micro) -> None:
    bases = {path.name for path in micro.home.base.iterdir() if path.is_dir() and not path.is_symlink()}
    other = micro.home.base / ("0" * 64)
    other.mkdir()
    (other / "config.json").write_text("{}")
    (micro.home.base / ".source-other").symlink_to(other.name)
    assert applied(micro, "bases = '30d'") == {"bases": 0}, "it was imported today"
    assert applied(micro, "bases = '30d'", days=31) == {"bases": 1}
    left = {path.name for path in micro.home.base.iterdir() if path.is_dir() and not path.is_symlink()}
    assert left == bases
    assert not (micro.home.base / ".source-other").is_symlink()
    # Without the record of the last import, the base of live and of its predecessor stays all the same.
    micro.home.imported_base.unlink()
    assert applied(micro, "bases = '1d'", days=31) == {"bases": 0}
    assert kbsync(micro, "rollback", "--reason", "wrong")[0] == 0


def test_files_that_were_read_go_and_what_is_no_file_of_the_folder_stays(micro: Micro) -> None:
    micro.sync()  # moves the last file
    done, outside = micro.drop / "done", micro.root / "outside"
    outside.write_text("another's")
    (done / "link").symlink_to(outside)
    (micro.drop / "rejected").mkdir(exist_ok=True)
    (micro.drop / "rejected" / "bad.csv").write_text("?")
    read = sorted(path.name for path in done.iterdir() if path.suffix == ".jsonl" and path.name[0] != ".")
    assert read
    assert applied(micro, "dropped = '30d'") == {"dropped": 0}
    assert applied(micro, "dropped = '30d'", days=31) == {"dropped": len(read) + 1}
    assert sorted(path.name for path in done.iterdir()) == [".read.jsonl", "link"]
    assert outside.read_text() == "another's"
    micro.say({"Blue House": "Fay"})
    (run,) = micro.sync().runs
    assert run.state == "deployed"


def test_the_cache_can_go_and_the_next_build_computes_it_again(micro: Micro) -> None:
    stats = micro.home.cache / "stats"
    for path in stats.glob("*.safetensors"):
        os.utime(path, (0, 0))
    assert applied(micro, "cache = '90d'")["cache"] > 0
    assert not list(stats.glob("*.safetensors"))
    assert list(micro.home.deltas.iterdir()), "reports name them"
    micro.say({"Blue House": "Fay"})
    (run,) = micro.sync().runs
    assert run.state == "deployed"
    assert list(stats.glob("*.safetensors"))
