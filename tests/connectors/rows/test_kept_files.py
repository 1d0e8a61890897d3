"""Old files of a drop folder that were read: which there are, and that nothing else is deleted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from connectors.rows.kept_files import delete_kept, kept_since_before

LATER = datetime.now(UTC) + timedelta(days=1)


def folder(root: Path) -> Path:
    for name in ("done/a.csv", "done/a.csv.rejects.jsonl", "rejected/b.csv", "done/.read.jsonl", "waits.csv"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (root / "done" / "folder").mkdir()
    (root / "done" / "link.csv").symlink_to(root / "waits.csv")
    return root


def test_read_files_are_found_by_the_time_at_which_they_were_moved(tmp_path: Path) -> None:
    drop = folder(tmp_path)
    assert kept_since_before(drop, LATER - timedelta(days=2)) == []
    assert kept_since_before(drop, LATER) == ["done/a.csv", "done/a.csv.rejects.jsonl", "rejected/b.csv"]


def test_deleting_leaves_everything_else(tmp_path: Path) -> None:
    drop = folder(tmp_path)
    delete_kept(drop, ["done/gone.csv", *kept_since_before(drop, LATER)])
    left = sorted(str(path.relative_to(drop)) for path in drop.rglob("*"))
    assert left == ["done", "done/.read.jsonl", "done/folder", "done/link.csv", "rejected", "waits.csv"]


def test_a_link_in_the_place_of_done_is_not_followed(tmp_path: Path) -> None:
    elsewhere = folder(tmp_path / "elsewhere")
    drop = tmp_path / "drop"
    drop.mkdir()
    (drop / "done").symlink_to(elsewhere / "done")
    assert kept_since_before(drop, LATER) == []
    delete_kept(drop, ["done/a.csv"])
    assert (elsewhere / "done" / "a.csv").exists()
    assert kept_since_before(tmp_path / "nowhere", LATER) == []
