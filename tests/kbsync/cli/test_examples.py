"""Help that teaches: every command ends its help with examples, and each of them can be typed; completion works."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import Any

import pytest
import typer.main

from kbsync.cli import hoist
from kbsync.cli.app import app
from kbsync.cli.examples import EXAMPLES
from tests.support.command_tree import commands

LINES = [(name, line) for name, lines in EXAMPLES.items() for line in lines]


def test_every_command_has_an_example_and_there_is_none_of_another() -> None:
    assert {name for name, _ in commands()} == set(EXAMPLES)


def test_every_help_shows_its_examples() -> None:
    for name, command in commands():
        shown = command.epilog or ""
        assert all(line in shown for line in EXAMPLES[name]), name


@pytest.mark.parametrize(("name", "line"), LINES)
def test_an_example_is_parsed_as_the_command_that_it_shows(
    name: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "ada")
    program, *words = shlex.split(line)
    assert program == "kbsync"
    command: Any = typer.main.get_command(app)
    context = command.make_context("kbsync", hoist(words))
    path = []
    while rest := [*context._protected_args, *context.args] if hasattr(command, "commands") else []:
        word, *rest = rest
        command = command.commands[word]
        path.append(word)
        context = command.make_context(word, list(rest), parent=context)
    assert " ".join(path) == name


def test_the_shell_completes_commands_and_options() -> None:
    def completed(words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "kbsync"],
            env={
                **os.environ,
                "_KBSYNC_COMPLETE": "complete_bash",
                "COMP_WORDS": words,
                "COMP_CWORD": str(len(words.split(" ")) - 1),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        return done.stdout

    assert "quarantine" in completed("kbsync quar").split()
    assert "approve" in completed("kbsync quarantine app").split()
    assert "--bootstrap" in completed("kbsync sync --boot").split()


def test_the_completion_script_is_shown() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kbsync", "--show-completion", "bash"],
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "_KBSYNC_COMPLETE=complete_bash" in done.stdout
