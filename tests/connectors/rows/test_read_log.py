"""The list of files that were read: its end is found whatever stands before it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import SourceDataError
from connectors.rows.read_log import READ_LOG, ReadFile, append, read_after


@pytest.fixture
def done(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def file(revision: int, name: str = "a.csv") -> ReadFile:
    return ReadFile(name, f"{revision:064}:1:2", revision)


def test_only_what_was_read_later_is_listed_in_its_order(done: int) -> None:
    assert read_after(done, 0) == []
    entries = [file(revision, name) for revision, name in ((3, "b"), (5, "a"), (8, 'ä"\n'))]
    for entry in entries:
        append(done, entry)
    assert [read_after(done, revision) for revision in (0, 3, 7, 8)] == [
        entries,
        entries[1:],
        entries[2:],
        [],
    ]


def test_what_another_ledger_read_before_is_not_listed_whatever_its_clock_said(done: int) -> None:
    for revision in (900, 901, 10, 11):
        append(done, file(revision))
    assert read_after(done, 10) == [file(11)]


def test_an_entry_that_was_added_twice_counts_once(done: int) -> None:
    for entry in (file(1), file(2), file(2), file(3)):
        append(done, entry)
    assert read_after(done, 1) == [file(2), file(3)]


@given(
    st.integers(1, 3_000),
    st.integers(0, 3_000),
    st.sampled_from(
        ["", "\n\n", "{}\n", "no entry\n", "x" * 70_000 + "\n", '{"name":1}\n', "\x00" * 9 + "\n"]
    ),
)
def test_a_list_of_any_length_with_anything_in_it_gives_its_end(
    tmp_path_factory: pytest.TempPathFactory, length: int, last: int, rubbish: str
) -> None:
    folder = tmp_path_factory.mktemp("done")
    lines = [
        f'{{"name":"{number}.csv","identity":"{number:064}:1:2","revision":{number}}}\n'
        for number in range(1, length + 1)
    ]
    lines.insert(length // 2, rubbish)
    (folder / READ_LOG).write_text("".join(lines), encoding="utf-8")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        found = read_after(descriptor, last)
    finally:
        os.close(descriptor)
    assert [entry.revision for entry in found] == list(range(last + 1, length + 1))


def test_a_line_that_is_no_entry_is_named_in_a_warning(
    done: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    append(done, file(1))
    with (tmp_path / READ_LOG).open("a", encoding="utf-8") as log:
        log.write("rubbish\n")
    with caplog.at_level(logging.WARNING):
        assert read_after(done, 0) == [file(1)]
    assert "done/.read.jsonl: a line is ignored" in caplog.text


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_list_that_is_no_file_is_neither_read_nor_written(done: int, tmp_path: Path, make: object) -> None:
    make(tmp_path / READ_LOG)  # type: ignore[operator]
    for use in (lambda: read_after(done, 0), lambda: append(done, file(1))):
        with pytest.raises((SourceDataError, OSError)):
            use()


def test_a_link_is_not_followed(done: int, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "file"
    outside.write_text("mine", encoding="utf-8")
    (tmp_path / READ_LOG).symlink_to(outside)
    with pytest.raises(OSError, match="symbolic links"):
        append(done, file(1))
    assert outside.read_text(encoding="utf-8") == "mine"


def test_a_line_that_was_cut_short_costs_only_itself(done: int, tmp_path: Path) -> None:
    append(done, file(1))
    with (tmp_path / READ_LOG).open("a", encoding="utf-8") as log:
        log.write('{"name":"b.csv","ident')
    append(done, file(3))
    assert read_after(done, 0) == [file(1), file(3)]
