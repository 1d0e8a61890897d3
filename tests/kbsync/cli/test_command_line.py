"""The command line as a whole: its help texts, its options, and what it prints of what was typed."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import rfc8785

from kbsync.cli import main
from kbsync.visible import HIDDEN
from state import State
from state.audit import verify_rows
from tests.support.command_tree import commands
from tests.support.ledgers import fact

HEAVY = (
    "torch",
    "transformers",
    "sqlalchemy",
    "sqlmodel",
    "alembic",
    "httpx",
    "structlog",
    "asyncio",
    "numpy",
)
"""What a help text needs nothing of; each of them takes a tenth of a second or more to import."""
WITHOUT_JSON = {"run", "serve", "audit export"}
"""The daemon, which prints a log, and the command whose output has a format of its own."""
TRICK = "x\x1b]0;owned\x07\u202e\u2066"


def test_every_command_prints_json_where_it_is_asked_to() -> None:
    without = {
        name for name, command in commands() if not any("--json" in one.opts for one in command.params)
    }
    assert without == WITHOUT_JSON


@pytest.mark.parametrize("arguments", [["--help"], ["facts", "--help"], ["edit", "--help"], ["--version"]])
def test_a_help_text_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from kbsync.cli import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit as ended: assert not ended.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout
    assert done.stderr.strip() == "[]"


def test_in_a_pipe_a_table_is_plain_text(home: Path) -> None:
    for arguments in (["gates"], ["relations", "wdt:P6"], ["--help"]):
        done = subprocess.run(
            [sys.executable, "-m", "kbsync", "--home", str(home), *arguments], capture_output=True, check=True
        )
        assert done.stdout
        assert b"\x1b" not in done.stdout


def test_a_paragraph_of_help_is_one_line_that_the_terminal_breaks() -> None:
    for name, command in commands():
        assert "\n" not in (command.help or "").replace("\n\n", ""), name


def test_no_help_text_loses_what_stands_in_brackets(capfd: pytest.CaptureFixture[str]) -> None:
    """To rich, `[retention]` would be a style and `[/etc]` the end of one."""
    bracketed = [
        (name, words)
        for name, command in commands()
        for text in (command.help, *(getattr(one, "help", None) for one in command.params))
        for words in re.findall(r"\[[^]]*]", text or "")
    ]
    assert ("retention", "[retention]") in bracketed
    for name in {name for name, _ in bracketed}:
        with pytest.raises(SystemExit):
            main([*name.split(), "--help"])
        printed = "".join(capfd.readouterr().out.replace("│", " ").split())
        for words in {words for owner, words in bracketed if owner == name}:
            assert "".join(words.split()) in printed, name


@pytest.mark.parametrize(
    "arguments",
    [[f"--{TRICK}"], [TRICK], ["facts", f"--{TRICK}"], ["facts", "--limit", TRICK], ["pin", TRICK]],
)
def test_a_usage_error_shows_what_was_typed_without_obeying_it(
    arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capfd.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.startswith("error: ")
    assert "--help" in err
    assert not HIDDEN.search(err.replace("\n", ""))


def exported(home: Path, capfd: pytest.CaptureFixture[str], *more: str) -> str:
    """The log of a ledger with a reason that would act on a terminal, as the command prints it."""
    state = State.open(f"sqlite:///{home}/kbsync.db")
    with state.write() as tx:
        (one,) = tx.put_facts([fact("wd:Q1", reason=f"{TRICK}\né")], "test")
        tx.decide(one.id, "rejected", TRICK, actor=f"ann{TRICK}")
    state.close()
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["--home", str(home), "audit", "export", *more])
    assert not ended.value.code
    return capfd.readouterr().out


@pytest.fixture
def home(tmp_path: Path, empty_ledger: Path) -> Path:
    (tmp_path / "kbsync.db").write_bytes(empty_ledger.read_bytes())
    return tmp_path


def test_an_exported_line_is_harmless_and_verifies(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = exported(home, capfd)
    assert not HIDDEN.search(text.replace("\n", ""))
    rows = [json.loads(line) for line in text.splitlines()]
    assert rows[-1]["actor"] == f"ann{TRICK}"
    assert verify_rows(rows).ok


def test_an_exported_sheet_is_harmless_and_its_bodies_are_the_logs(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = exported(home, capfd, "--format", "csv")
    assert not HIDDEN.search(text.replace("\r\n", ""))
    sheet = list(csv.DictReader(text.splitlines()))
    state = State.open(f"sqlite:///{home}/kbsync.db")
    with state.read() as tx:
        bodies = [event.body for event in tx.events()]
    state.close()
    assert [rfc8785.dumps(json.loads(row["body"])).decode() for row in sheet] == bodies


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("~nobody-of-this-name", 0),
        ("--json", 0),
        ("line\n", 0),
        ("x" * 200, 0),
        ("\udcff", 78),
        ("x" * 300, 78),
    ],
)
def test_a_home_of_any_name_is_started_or_refused_with_a_reason(
    name: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["--home", name, "init"])
    err = capfd.readouterr().err
    assert ended.value.code == code, err
    assert "Traceback" not in err
    if code == 0:
        assert (tmp_path / name / "kbsync.toml").is_file()
