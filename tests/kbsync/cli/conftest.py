"""A home with a ledger, and commands that are run in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbsync.home import Home
from tests.support.shell import Shell


@pytest.fixture
def shell(tmp_path: Path, empty_ledger: Path, capfd: pytest.CaptureFixture[str]) -> Shell:
    home = Home(tmp_path / "home").prepare()
    home.database.write_bytes(empty_ledger.read_bytes())
    home.config.write_text("", encoding="utf-8")
    return Shell(home, capfd)
