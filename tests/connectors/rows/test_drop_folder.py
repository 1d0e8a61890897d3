"""A folder that others write to: nothing outside it is read or written, whatever they put there."""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from connectors.errors import ConnectorError, SourceDataError, SourceUnavailable
from connectors.observations import Connector
from connectors.registry import connect
from connectors.rows.drop_folder import DropFolder
from tests.support.sink import Sink

HEADER = "subject,relation,object\n"
BAD_ROW = HEADER + "a,owner,Ann\n,owner,Bob\n"
Open = Callable[..., Connector]


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    (tmp_path / "drop").mkdir()
    return tmp_path / "drop"


@pytest.fixture
def open_files(drop: Path) -> Open:
    def open_(**settings: Any) -> Connector:
        return connect("crm", {"kind": "files", "folder": str(drop), "namespace": "crm", **settings})

    return open_


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that producers may neither read nor change."""
    path = tmp_path / "kbsync.toml"
    path.write_text("password = 'secret'\n,owner,secret\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    "name",
    [
        ".y.csv.rejects.jsonl",
        "y.csv.rejects.jsonl",
        "done",
        "done/.claimed-y.csv",
        "done/y.csv",
        "done/y.csv.rejects.jsonl",
    ],
)
@pytest.mark.parametrize("points_to", ["file", "folder", "nothing"])
def test_a_link_under_any_name_that_we_use_changes_nothing_outside(
    drop: Path, open_files: Open, secret: Path, name: str, points_to: str
) -> None:
    outside = drop.parent / "outside"
    outside.mkdir()
    target = {"file": secret, "folder": outside, "nothing": drop.parent / "new.txt"}[points_to]
    (drop / name).parent.mkdir(exist_ok=True)
    (drop / name).symlink_to(target)
    (drop / "y.csv").write_text(BAD_ROW)
    sink = Sink()
    for _ in range(3):
        with suppress(SourceUnavailable) if name == "done" else nullcontext():
            sink.drain(open_files())
    assert secret.read_text().startswith("password")
    assert sorted(path.name for path in drop.parent.iterdir()) == ["drop", "kbsync.toml", "outside"]
    assert list(outside.iterdir()) == []
    assert sink.values("crm:owner") == {"crm:a": ("lit:Ann",)}


@pytest.mark.parametrize("name", ["rejected", "rejected/y.csv", "rejected/y.csv.rejects.jsonl"])
def test_a_rejected_file_is_not_moved_through_a_link(
    drop: Path, open_files: Open, secret: Path, name: str
) -> None:
    outside = drop.parent / "outside"
    outside.mkdir()
    (drop / name).parent.mkdir(exist_ok=True)
    (drop / name).symlink_to(outside if name == "rejected" else secret)
    (drop / "y.csv").write_text("who,what\n")
    sink = Sink()
    for _ in range(3):
        with suppress(SourceUnavailable) if name == "rejected" else nullcontext():
            sink.drain(open_files())
    assert secret.read_text().startswith("password")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "hard link", "link to a folder", "pipe", "folder", "dangling"])
def test_only_regular_files_are_read_and_others_are_named(
    drop: Path, open_files: Open, secret: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    evil = drop / "x.csv"
    match kind:
        case "link":
            evil.symlink_to(secret)
        case "hard link":
            os.link(secret, evil)
        case "link to a folder":
            evil.symlink_to(drop)
        case "pipe":
            os.mkfifo(evil)
        case "folder":
            evil.mkdir()
        case "dangling":
            evil.symlink_to("nowhere")
    (drop / "y.csv").write_text(HEADER + "a,owner,Ann\n")
    sink, connector = Sink(), open_files()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            sink.drain(connector)
    assert sink.values("crm:owner") == {"crm:a": ("lit:Ann",)}
    assert [record.getMessage().count("x.csv") for record in caplog.records] == [1]
    assert "'x.csv' is " in connector.check().detail
    assert not [path for path in drop.rglob("*.jsonl") if "secret" in path.read_text()]


def test_a_file_swapped_for_a_link_between_listing_and_opening_is_refused(
    drop: Path, open_files: Open, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (drop / "y.csv").write_text(BAD_ROW)
    read = DropFolder.read

    def swapped(self: DropFolder, name: str, most: int, *, linked: bool = False) -> Any:
        (drop / name).unlink()
        (drop / name).symlink_to(secret)
        return read(self, name, most, linked=linked)

    monkeypatch.setattr(DropFolder, "read", swapped)
    with pytest.raises(SourceDataError, match="is a link"):
        list(open_files().poll(None))


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o666])
def test_rejects_are_no_more_readable_than_the_file(drop: Path, open_files: Open, mode: int) -> None:
    (drop / "y.csv").write_text(BAD_ROW)
    (drop / "y.csv").chmod(mode)
    list(open_files().poll(None))
    rejects = drop / "y.csv.rejects.jsonl"
    assert stat.S_IMODE(rejects.stat().st_mode) == mode & 0o644
    assert [path.name for path in drop.iterdir() if path.name.startswith(".")] == []


def test_names_that_are_not_utf8_are_refused_and_shown_escaped(drop: Path, open_files: Open) -> None:
    os.close(os.open(bytes(drop) + b"/\xff\x1b.csv", os.O_CREAT | os.O_WRONLY))
    (drop / "a\n\x1b[2J.csv").write_text(HEADER + "a,owner,Ann\n")
    sink, connector = Sink(), open_files()
    sink.drain(connector)
    detail = connector.check().detail
    assert detail.isprintable()
    assert r"\udcff\x1b.csv': its name is not UTF-8" in detail
    assert sink.values("crm:owner") == {"crm:a": ("lit:Ann",)}
    sink.drain(connector)
    assert (drop / "done" / "a\n\x1b[2J.csv").exists()


def test_what_a_reject_repeats_can_be_read_by_any_tool(drop: Path, open_files: Open) -> None:
    row = {"subject": "a", "relation": "owner", "object": "\ud800\u202e\x1b[2J", "note": ["x"] * 9}
    (drop / "y.jsonl").write_text(json.dumps(row) + '\n{"subject":"b","relation":"owner","object":"Zoë"}')
    list(open_files().poll(None))
    (line,) = (drop / "y.jsonl.rejects.jsonl").read_text(encoding="utf-8").splitlines()
    assert line.isprintable()
    assert json.loads(line)["row"]["object"] == "\ud800\u202e\x1b[2J"


def test_the_same_file_dropped_again_is_read_again(drop: Path, open_files: Open) -> None:
    (drop / "y.csv").write_text(HEADER + "a,owner,Ann\n")
    sink = Sink()
    wrong, corrected = open_files(namespace="wrong"), open_files()
    sink.drain(wrong)
    sink.drain(wrong)
    (drop / "y.csv").write_text(HEADER + "a,owner,Ann\n")
    sink.drain(corrected)
    assert sink.values("crm:owner") == {"crm:a": ("lit:Ann",)}


def test_files_are_recognised_by_cursors_of_older_versions(drop: Path, open_files: Open) -> None:
    (drop / "y.csv").write_text(HEADER + "a,owner,Ann\n")
    sink = Sink()
    sink.drain(open_files())
    fields = json.loads(sink.cursor or "")
    fields["read"]["y.csv"] = fields["read"]["y.csv"].partition(":")[0]
    assert list(open_files().poll(json.dumps(fields))) == []
    assert (drop / "done" / "y.csv").exists()


@pytest.mark.parametrize("cut", ["claimed", "linked"])
def test_a_move_that_was_cut_short_is_carried_on(drop: Path, open_files: Open, cut: str) -> None:
    (drop / "y.csv").write_text(HEADER + "a,owner,Ann\n")
    sink = Sink()
    sink.drain(open_files())
    (drop / "done").mkdir()
    (drop / "y.csv").rename(drop / "done" / ".claimed-y.csv")
    if cut == "linked":
        os.link(drop / "done" / ".claimed-y.csv", drop / "done" / "y.csv")
    assert sink.drain(open_files()) == 0
    assert sorted(os.listdir(drop / "done")) == [".read.jsonl", "y.csv"]
    assert (drop / "done" / "y.csv").stat().st_nlink == 1


def test_names_in_a_cursor_lead_nowhere_else(drop: Path, open_files: Open, secret: Path) -> None:
    cursor = json.dumps({"format": 1, "read": {"../kbsync.toml": "x"}, "held": None, "revision": 1})
    with pytest.raises(ConnectorError, match="is not a file name"):
        list(open_files().poll(cursor))
    assert secret.exists()


def _long(drop: Path) -> None:
    (drop / ("é" * 100 + "x.csv")).write_text(BAD_ROW)


def _rejects_are_a_folder(drop: Path) -> None:
    (drop / "a.csv").write_text(BAD_ROW)
    (drop / "a.csv.rejects.jsonl").mkdir()


def _folder_under_a_name_of_ours(drop: Path) -> None:
    (drop / ".kbsync-1").mkdir()
    (drop / "done").mkdir()
    (drop / "done" / ".claimed-y.csv").mkdir()


@pytest.mark.parametrize(
    ("obstacle", "named"),
    [
        (_long, "its name has 205 bytes, more than 200; rename it"),
        (_rejects_are_a_folder, "'a.csv': 'a.csv.rejects.jsonl' is a folder; remove it"),
        (_folder_under_a_name_of_ours, "'.claimed-y.csv'"),
        (lambda drop: (drop / "a.csv").symlink_to("a.csv"), "'a.csv' is a link"),
    ],
)
def test_what_stands_in_the_way_of_one_file_costs_no_other(
    drop: Path, open_files: Open, obstacle: Callable[[Path], object], named: str
) -> None:
    obstacle(drop)
    (drop / "y.csv").write_text(HEADER + "a,owner,Ann\n")
    sink, connector = Sink(), open_files()
    for _ in range(3):
        sink.drain(connector)
    assert sink.values("crm:owner") == {"crm:a": ("lit:Ann",)}
    assert (drop / "done" / "y.csv").is_file()
    detail = connector.check().detail
    assert named in detail or "is not a regular file" in detail


def test_a_file_that_may_not_be_read_is_named_and_costs_no_other(
    drop: Path, open_files: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    (drop / "a.csv").write_text(HEADER + "b,owner,Bob\n")
    (drop / "a.csv").chmod(0)
    (drop / "y.csv").write_text(HEADER + "a,owner,Ann\n")
    if os.geteuid() == 0:  # who may read everything: the kernel's answer to anybody else
        access = os.access
        monkeypatch.setattr(
            os, "access", lambda name, *rest, **how: name != "a.csv" and access(name, *rest, **how)
        )
    sink, connector = Sink(), open_files()
    for _ in range(2):
        sink.drain(connector)
    assert sink.values("crm:owner") == {"crm:a": ("lit:Ann",)}
    assert "'a.csv' cannot be read: Permission denied" in connector.check().detail
