"""`kbsync dataset`: what it writes is what `kbsync bench --facts` reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from editing.datasets import read_records
from kbsync.cli import main


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    return int(ended.value.code or 0)


def test_the_world_of_the_testbed_becomes_a_set_with_all_its_prompts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "made.json"
    assert (
        run("--home", str(tmp_path), "dataset", "--testbed", "--count", "40", "--out", str(file), "--json")
        == 0
    )
    assert json.loads(capsys.readouterr().out)["entries"] == 40
    records = read_records(file)
    assert len(records) == 40
    assert all(one.previous and one.paraphrases and one.generation and one.references for one in records)
    assert any(one.neighbours for one in records)
    assert all(answer == one.previous for one in records for _, answer in one.neighbours)


def test_a_home_without_facts_says_what_to_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--home", str(tmp_path), "dataset", "--out", str(tmp_path / "made.json")) == 65
    assert "--facts" in capsys.readouterr().err
