"""Windows editors put a byte order mark before a text: it belongs to no file that a user writes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from editing.memit.corpus import documents
from kbsync.errors import BadConfiguration
from kbsync.settings.base_model import read_overrides
from kbsync.settings.canaries import read_canaries
from kbsync.settings.hook import read_secret

MARK = "\ufeff"


def write(path: Path, text: str) -> Path:
    path.write_text(MARK + text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"), [("kbsync-edit.json", '{"steps": 3}'), ("edit.toml", "[edit]\nsteps = 3\n")]
)
def test_hyper_parameters(tmp_path: Path, name: str, text: str) -> None:
    assert read_overrides(write(tmp_path / name, text)).steps == 3


def test_a_token(tmp_path: Path) -> None:
    assert read_secret(None, write(tmp_path / "token", "s3cret\r\n")) == "s3cret"


def test_canaries_and_line_separators_within_them(tmp_path: Path) -> None:
    file = write(
        tmp_path / "canaries.jsonl",
        '{"prompt": "One\u2028is", "target": "1"}\r\n{"prompt": "Two is", "target": "2"}\r\n',
    )
    assert [case.prompt for case in read_canaries(file)] == ["One\u2028is", "Two is"]


def test_a_pipe_is_no_canary_file_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadConfiguration, match="not a regular file"):
        read_canaries(tmp_path / "pipe")


def test_a_corpus(tmp_path: Path) -> None:
    assert list(documents([write(tmp_path / "corpus.txt", "One sentence.\n")])) == ["One sentence."]
