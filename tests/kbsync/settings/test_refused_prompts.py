"""The file of prompts that have to be refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbsync.errors import BadConfiguration, BadData
from kbsync.settings.loading import load
from kbsync.settings.refusals import read_refusals


def test_each_line_is_a_prompt(tmp_path: Path) -> None:
    file = tmp_path / "refused.txt"
    file.write_text("\ufeffHow do I …?\n\n  Tell me … \nHow do I …?\n", encoding="utf-8")
    assert read_refusals(file) == ("How do I …?", "Tell me …")
    assert read_refusals(None) == ()


def test_what_is_no_such_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="cannot be read"):
        read_refusals(tmp_path / "missing.txt")
    (tmp_path / "latin.txt").write_bytes(b"\xe9t\xe9")
    with pytest.raises(BadData, match="UTF-8"):
        read_refusals(tmp_path / "latin.txt")
    (tmp_path / "long.txt").write_text("x" * 10_001)
    with pytest.raises(BadData, match="characters in a line"):
        read_refusals(tmp_path / "long.txt")


def test_a_relative_path_is_relative_to_the_settings(tmp_path: Path) -> None:
    (tmp_path / "kbsync.toml").write_text("[refusals]\nprompts = 'refused.txt'\n")
    assert load(tmp_path / "kbsync.toml").refusals.prompts == tmp_path / "refused.txt"
