"""What is done to a log is found against one honest witness, and an honest history is no alarm.

Honest are: growing, keys that rotate, and a restore that the operator declares.  `test_tampering.py` draws both at
random.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from state import State
from state.anchors import read_anchors
from state.errors import AnchorContradicted
from tests.support.witnessed import FORGERIES, Kept, forged, key, rewrite


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("empty") / "kbsync.db"
    state = State.open(f"sqlite:///{file}")
    state.migrate()
    state.close()
    return file


@pytest.fixture
def kept(tmp_path: Path, empty: Path) -> Kept:
    made = Kept(tmp_path / "kept", empty)
    made.learn("Q1")
    made.sign()
    return made


def test_an_honest_history_verifies_whole_and_from_its_last_head(kept: Kept) -> None:
    for count in (1, 300, 3):
        kept.grow(count)
        kept.sign()
        kept.sign()
        kept.learn(f"Q{count}{count}")
        assert kept.verify().ok
        assert kept.verify(tables=False).ok
    assert len(read_anchors(kept.witness)) == 4, "a head that has not moved is not added again"


def test_keys_rotate_and_old_heads_still_count(kept: Kept) -> None:
    kept.rotate(key("second"))
    kept.sign()
    assert kept.verify().ok
    lineage = kept.state.audit.lineage()
    assert [one.state for one in lineage.keys.values()] == ["retired", "signs"]
    assert lineage.descends(key("second").public, [key("first").public])


def test_what_a_revoked_key_signs_later_does_not_count(kept: Kept) -> None:
    with kept.state.write() as tx:
        tx.emit("key.revoked", "ada", {"key": str(kept.key.public), "reason": "stolen"})
    assert kept.verify().ok, "what it signed before still counts"
    kept.grow(1)
    with pytest.raises(AnchorContradicted, match="is not a key of this log or was revoked"):
        kept.sign()


def test_a_restore_is_in_order_once_it_is_declared_with_the_key(kept: Kept) -> None:
    older = kept.copy("older.db")
    kept.grow(5)
    kept.sign()
    kept.restore(older)
    found = kept.verify()
    assert (found.ok, found.first_bad, found.failed) == (False, 3, "anchors")
    with pytest.raises(AnchorContradicted, match=r"its tail was cut.*--restored"):
        kept.sign()
    kept.sign(restored=True)
    for _ in range(2):
        assert kept.verify().ok
        assert kept.verify(tables=False).ok
        kept.grow(10)
        kept.sign()


def test_a_second_restore_from_the_same_backup_is_in_order_too(kept: Kept) -> None:
    older = kept.copy("older.db")
    for count in (5, 9, 2):
        kept.grow(count)
        kept.sign()
        kept.restore(older)
        kept.sign(restored=True)
        assert kept.verify().ok


def test_a_restore_that_another_key_declares_is_none(kept: Kept) -> None:
    """Whoever can write SQL can write the event of a restore and create a key, but has not signed here before."""
    older = kept.copy("older.db")
    kept.grow(5)
    kept.sign()
    kept.restore(older)
    mallory = key("mallory")
    with kept.state.write() as tx:
        tx.emit("key.created", "mallory", {"key": str(mallory.public)})
    with pytest.raises(AnchorContradicted, match="its tail was cut"):
        kept.state.audit.write_anchor(kept.witness, mallory, restored=True)
    assert not kept.verify().ok


def test_a_log_written_again_with_another_key_is_found(kept: Kept) -> None:
    kept.grow(3)
    kept.sign()
    rewrite(kept, 1, forge=key("mallory"))
    found = kept.verify()
    assert (found.ok, found.failed, found.first_bad) == (False, "anchors", 2)


def test_unsigned_lines_of_before_still_verify(tmp_path: Path, empty: Path) -> None:
    kept = Kept(tmp_path / "kept", empty)
    kept.state.audit.write_anchor(kept.witness)
    assert "note" not in json.loads(kept.witness.read_text())
    kept.grow(2)
    kept.sign()
    assert [bool(one.note) for one in read_anchors(kept.witness)] == [False, True]
    assert kept.verify().ok


@pytest.mark.parametrize("how", FORGERIES)
def test_a_forged_line_is_found(kept: Kept, how: str) -> None:
    kept.grow(4)
    kept.sign()
    first, last = (json.loads(line) for line in kept.witness.read_text().splitlines())
    kept.witness.write_text(f"{json.dumps(first)}\n{json.dumps(forged(last, how))}\n")
    found = kept.verify()
    assert (found.ok, found.failed, found.first_bad) == (False, "anchors", last["seq"])


@pytest.fixture
def append_only(tmp_path: Path) -> Iterator[Path]:
    """A file that may only be appended to, in a directory in which nothing may be created, renamed or deleted."""
    mount = tmp_path / "mount"
    mount.mkdir()
    file = mount / "heads.jsonl"
    file.touch()
    done: list[tuple[str, Path]] = []
    try:
        for attribute, path in (("a", file), ("i", mount)):
            made = subprocess.run(
                ["chattr", f"+{attribute}", path], capture_output=True, text=True, check=False
            )
            if made.returncode:
                pytest.skip(
                    f"needs root and a file system with `chattr +a`, such as ext4: {made.stderr.strip()}"
                )
            done.append((attribute, path))
        yield file
    finally:
        for attribute, path in reversed(done):
            subprocess.run(["chattr", f"-{attribute}", path], check=True)


@pytest.mark.skipif(shutil.which("chattr") is None, reason="needs chattr (Debian package e2fsprogs)")
def test_heads_lie_on_storage_that_only_appends(kept: Kept, append_only: Path) -> None:
    with pytest.raises(PermissionError):
        append_only.write_bytes(b"")
    with pytest.raises(PermissionError):
        append_only.with_name("another").touch()
    for count in (1, 2):
        kept.grow(count)
        kept.sign(append_only)
    assert [one.seq for one in read_anchors(append_only)] == [3, 5]
    with append_only.open("ab") as file:  # a crash left the beginning of a line, which nobody can cut off
        file.write(b'{"seq": 6, "ha')
    kept.grow(1)
    kept.sign(append_only)
    lines = read_anchors(append_only)
    assert [one.seq for one in lines] == [3, 5, 6]
    assert kept.state.audit.verify_tables(witnesses=[lines]).ok
    rewrite(kept, 2)
    found = kept.state.audit.verify_tables(witnesses=[read_anchors(append_only)])
    assert (found.ok, found.failed, found.first_bad) == (False, "anchors", 3)
    with pytest.raises(AnchorContradicted, match="history was rewritten"):
        kept.sign(append_only)
