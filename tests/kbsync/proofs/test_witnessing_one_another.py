"""Two kbsync, each the other's witness: what is done to the log of one is found with what the other keeps."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.proven import make


def kbsync(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kbsync", "--home", str(home), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_each_finds_what_was_done_to_the_other(tmp_path: Path, empty_file: Path) -> None:
    homes = {}
    for name in ("ada", "bob"):
        (tmp_path / name).mkdir()
        homes[name] = make(tmp_path / name, empty_file)
    for name, other in (("ada", "bob"), ("bob", "ada")):
        heads = homes[other] / "witnessed.jsonl"
        (homes[name] / "kbsync.toml").write_text(f"[state]\nwitnesses = ['{heads}']\n")
    both = [
        subprocess.Popen([sys.executable, "-m", "kbsync", "--home", str(home), "audit", "anchor"])
        for home in homes.values()
    ]
    assert [one.wait(60) for one in both] == [0, 0]
    for home in homes.values():
        assert kbsync(home, "audit", "verify").returncode == 0
        assert kbsync(home, "audit", "verify", "--incremental").returncode == 0
    with closing(sqlite3.connect(homes["ada"] / "kbsync.db")) as connection, connection:
        connection.execute("DROP TRIGGER events_no_delete")
        connection.execute("DELETE FROM events WHERE seq > 20")
        connection.execute("DELETE FROM subtrees")
    for more in ([], ["--incremental"], ["--against", str(homes["bob"] / "witnessed.jsonl")]):
        found = kbsync(homes["ada"], "audit", "verify", *more)
        assert found.returncode == 65
        assert "event 21" in found.stderr
        assert "its tail was cut" in found.stderr
    refused = kbsync(homes["ada"], "audit", "anchor")
    assert refused.returncode == 65
    assert kbsync(homes["bob"], "audit", "verify").returncode == 0, "bob's own log is whole"
