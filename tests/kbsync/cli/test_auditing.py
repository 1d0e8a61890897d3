"""`kbsync audit`: what it proves, and the exit code where it cannot."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from kbsync.cli import main
from state import State
from state.records import Slot
from tests.support.ledgers import START, Clock, fact


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


def seen(home: Path, capfd: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, Any]]:
    """The events that `audit show --json` prints."""
    capfd.readouterr()
    assert kbsync(home, "audit", "show", *arguments, "--json") == 0
    found: list[dict[str, Any]] = json.loads(capfd.readouterr().out)
    return found


def numbers(home: Path, capfd: pytest.CaptureFixture[str], *arguments: object) -> list[int]:
    return [event["seq"] for event in seen(home, capfd, *arguments)]


@pytest.fixture
def busy(home: Path) -> Path:
    """Events of two hours, two actors, two subjects, a pause and a new label."""
    state = State.open(f"sqlite:///{home}/kbsync.db", Clock(START), identity="alice (uid 1000) on here")
    with state.write() as tx:
        tx.put_slots([Slot("wd:Q1", "wdt:P6", "One", "The head of {} is", "k1")])
        tx.decide(1, "rejected", "no", "ada")
    state.clock.forward(hours=1)
    with state.write() as tx:
        tx.pause("lunch", "bob")
        tx.put_slots([Slot("wd:Q1", "wdt:P6", "Uno", "The head of {} is", "k2")])
    state.close()
    return home


def test_events_are_shown_newest_first_and_page_by_page(
    busy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert numbers(busy, capfd) == [6, 5, 4, 3, 2, 1]
    assert kbsync(busy, "audit", "show", "--limit", 4) == 0
    _, err = capfd.readouterr()
    assert "2 older ones" in err
    assert "--before 3" in err
    assert numbers(busy, capfd, "--limit", 4, "--before", 3) == [2, 1]
    assert numbers(busy, capfd, "--after", 4) == [6, 5]


def test_events_are_found_by_time(busy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert numbers(busy, capfd, "--since", "2024-01-01T00:30", "--until", "2024-01-02") == [6, 5]
    assert numbers(busy, capfd, "--until", "2024-01-01T00:30") == [4]
    assert numbers(busy, capfd, "--since", "2024-01-01", "--until", "2024-01-02") == [6, 5, 4]
    assert numbers(busy, capfd, "--since", "2024-01-01T01:30+01:00", "--until", "2024-01-02") == [6, 5]
    assert numbers(busy, capfd, "--since", "1h") == [3, 2, 1]


def test_events_are_found_by_who(busy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert numbers(busy, capfd, "--actor", "ada") == [4]
    assert numbers(busy, capfd, "--actor", "alice") == [6, 5, 4]
    assert numbers(busy, capfd, "--actor", "nobody") == []


def test_events_are_found_by_what_they_are_about(busy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert numbers(busy, capfd, "--fact", 1) == [4, 1]
    assert numbers(busy, capfd, "--kind", "fact.*") == [4, 3, 2, 1]
    assert numbers(busy, capfd, "--kind", "fact.rejected") == [4]
    assert numbers(busy, capfd, "--kind", "fact.*", "--actor", "test") == [3, 2, 1]
    by_subject = seen(busy, capfd, "--subject", "wd:Q1")
    assert [event["kind"] for event in by_subject] == ["slot.rerendered", "fact.wanted"]


def test_a_subject_is_not_one_whose_id_begins_alike(busy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert numbers(busy, capfd, "--subject", "wd:Q") == []


@pytest.mark.parametrize("text", ["yesterday", "2024-13-01", "", "-3h"])
def test_a_time_that_is_none_is_a_wrong_command(
    busy: Path, capfd: pytest.CaptureFixture[str], text: str
) -> None:
    assert kbsync(busy, "audit", "show", f"--since={text}") == 2
    assert "is not a point in time" in capfd.readouterr().err


def test_a_long_event_is_cut_on_a_terminal_and_whole_as_json(
    busy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    state = State.open(f"sqlite:///{busy}/kbsync.db")
    with state.write() as tx:
        tx.resume("bob")
        tx.pause("x" * 5000, "bob")
    state.close()
    assert "x" * 5000 in json.loads(seen(busy, capfd, "--limit", 1)[0]["body"])["reason"]
    kbsync(busy, "audit", "show", "--limit", 1)
    assert capfd.readouterr().out.count("x") < 400


def test_verify_tables_names_the_row_that_was_changed_by_hand(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert kbsync(home, "audit", "verify", "--tables") == 0
    assert "every row matches them" in capfd.readouterr().err
    with sqlite3.connect(home / "kbsync.db") as database:
        database.execute("UPDATE facts SET status = 'retracted' WHERE id = 2")
    database.close()
    assert kbsync(home, "audit", "verify") == 0, "the chain alone does not see it"
    capfd.readouterr()
    assert kbsync(home, "audit", "verify", "--tables") == 65
    said = capfd.readouterr().err
    assert "facts 2: status is 'retracted'; the log says 'wanted'" in said
    assert "restore a backup" in said
