"""`kbsync audit`: what it proves, and the exit code where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbsync.cli import main
from state import State
from tests.support.ledgers import fact


@pytest.fixture
def home(tmp_path: Path, empty_ledger: Path) -> Path:
    """A home whose ledger has a few events."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "kbsync.db").write_bytes(empty_ledger.read_bytes())
    state = State.open(f"sqlite:///{home}/kbsync.db")
    with state.write() as tx:
        tx.put_facts([fact(f"wd:Q{number}") for number in range(3)], "test")
    state.close()
    return home


def kbsync(home: Path, *arguments: object) -> int:
    """The exit code of a command in this home."""
    with pytest.raises(SystemExit) as ended:
        main(["--home", str(home), *map(str, arguments)])
    return int(ended.value.code or 0)


def test_verify_names_how_many_anchors_agree(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    anchors = tmp_path / "anchors.jsonl"
    assert kbsync(home, "audit", "anchor", anchors) == 0
    assert kbsync(home, "audit", "verify", "--against", anchors) == 0
    assert "that agree: 1" in capfd.readouterr().err


def test_verify_against_a_file_that_is_not_there_is_exit_66(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert kbsync(home, "audit", "verify", "--against", tmp_path / "anchors.jsonl") == 66
    assert "there is no anchor file" in capfd.readouterr().err


def test_the_configured_anchor_file_is_compared_by_default(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    anchors = tmp_path / "anchors.jsonl"
    (home / "kbsync.toml").write_text(f"[state]\nanchor = '{anchors}'\n")
    assert kbsync(home, "audit", "verify") == 0
    assert kbsync(home, "audit", "anchor", anchors) == 0
    text = anchors.read_text()
    anchors.write_text(text.replace('"seq": ', '"seq": 10'))
    assert kbsync(home, "audit", "verify") == 65
    assert "its tail was cut" in capfd.readouterr().err


def test_anchoring_a_log_that_was_rewritten_is_exit_65_and_adds_nothing(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    anchors = tmp_path / "anchors.jsonl"
    assert kbsync(home, "audit", "anchor", anchors) == 0
    other = anchors.read_text()
    anchors.write_text(other[:20] + ("0" if other[20] != "0" else "1") + other[21:])
    before = anchors.read_text()
    assert kbsync(home, "audit", "anchor", anchors) == 65
    assert "contradicts the log" in capfd.readouterr().err
    assert anchors.read_text() == before
