"""A home may have any name that a directory may have."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbsync.application import Application
from kbsync.home import Home
from kbsync.settings.loading import load


@pytest.mark.parametrize("name", ["50%25", "%41", "a?b", "a#b", "with space", "ü", "a&mode=ro", "file:x"])
def test_the_ledger_lies_in_its_home_whatever_that_is_called(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path / name)
    home.root.mkdir()
    home.config.write_text("", encoding="utf-8")
    with Application(home, load(home.config, {})) as app, app.leading(), app.state.write() as tx:
        tx.pause("it works", "ada")
    assert [path.name for path in tmp_path.iterdir()] == [name], "nothing lies beside it"
    assert home.database.read_bytes().startswith(b"SQLite format 3")
