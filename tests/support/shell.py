"""Commands that are run in a home with a ledger."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from kbsync.cli import main
from kbsync.home import Home
from kbsync.settings.loading import load
from state import State
from tests.support.admission_world import CATALOGUE, Clock, World


@dataclass
class Shell:
    """Commands in one home; `world` is its ledger, told by a scripted source."""

    home: Home
    capfd: pytest.CaptureFixture[str]

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a command."""
        self.capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["--home", str(self.home.root), *map(str, arguments)])
        out, err = self.capfd.readouterr()
        return int(ended.value.code or 0), out, err

    def json(self, *arguments: object) -> Any:
        code, out, err = self(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    def settings(self, text: str) -> None:
        self.home.config.write_text(text, encoding="utf-8")

    def state(self) -> State:
        return State.open(f"sqlite:///{self.home.database}")

    def world(self) -> World:
        """The ledger as its settings say, with a source that says what it is told to."""
        settings = load(self.home.config, {})
        return World(self.state(), Clock(), settings.policy, CATALOGUE)
