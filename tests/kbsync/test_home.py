"""A home may have any name that a directory may have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kbsync.application import Application
from kbsync.home import Home
from kbsync.settings.loading import load
from tests.support.ledgers import fact
from tests.support.promoted import Place


@pytest.mark.parametrize("name", ["50%25", "%41", "a?b", "a#b", "with space", "ü", "a&mode=ro", "file:x"])
def test_the_ledger_lies_in_its_home_whatever_that_is_called(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path / name)
    home.root.mkdir()
    home.config.write_text("", encoding="utf-8")
    with Application(home, load(home.config, {})) as app, app.leading(), app.state.write() as tx:
        tx.pause("it works", "ada")
    assert [path.name for path in tmp_path.iterdir()] == [name], "nothing lies beside it"
    assert home.database.read_bytes().startswith(b"SQLite format 3")


def test_a_home_on_a_full_disk_is_not_locked_and_says_so(tmp_path: Path) -> None:
    script = f"""
import resource
from pathlib import Path
from editing.errors import StorageError
from kbsync.home import Home
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
home = Home(Path({str(tmp_path)!r}))
try:
    with home.locked("a test"):
        print("locked")
except StorageError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
with home.locked("a test"):
    print((home.root / ".lock").read_text())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    full, free = done.stdout.splitlines()
    assert full.startswith(f"cannot write {tmp_path}/.lock: File too large; allow larger files")
    assert free.startswith("a test (process ")
    assert (tmp_path / ".lock").read_text() == ""


def test_a_second_application_of_a_process_drops_no_lock_of_the_first(tmp_path: Path) -> None:
    place = Place(tmp_path)
    first = place.application()
    with first.state.write() as tx:
        tx.put_facts([fact("Q1", "Q10")], "test")
    # As the pages do, that a daemon serves.
    with Application(first.home, first.settings) as second, second.state.read() as tx:
        assert len(tx.wanted()) == 1
    # What every other command does.  The last connection that is closed removes the write-ahead log.
    code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT count(*) FROM facts'); c.close()"
    subprocess.run([sys.executable, "-c", code, str(first.home.database)], check=True)
    assert first.home.database.with_name("kbsync.db-wal").exists()
    first.close()
