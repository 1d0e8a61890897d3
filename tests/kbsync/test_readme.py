"""The README's "Your own model, your own data", typed in as it stands by somebody who has nothing yet."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

from kbsync.settings.loading import load
from tests.support.paths import REPOSITORY

ROOT = REPOSITORY


def commands(heading: str) -> str:
    """The indented blocks of a section of the README, in order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", section, flags=re.MULTILINE)
    return "".join(textwrap.dedent(block) for block in blocks)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_csv_file_becomes_a_promoted_checkpoint_by_the_readmes_own_commands(tmp_path: Path) -> None:
    (tmp_path / "kbsync").mkdir()
    (tmp_path / "kbsync/demo").symlink_to(ROOT / "kbsync/demo")
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KBSYNC_")}
    done = subprocess.run(
        ["bash", "-eu", "-c", commands("Your own model, your own data")],
        cwd=tmp_path,
        env=environment | {"HF_HUB_OFFLINE": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    asked = next(line for line in done.stdout.splitlines() if "chief executive of Volkswagen" in line)
    assert "Oliver Blume" in asked
    assert "Herbert Diess" in asked, "what the base says stands beside it"
    assert len(list((tmp_path / "my-home/checkpoints").glob("*-1"))) == 2
    assert (tmp_path / "my-home/checkpoints/live/config.json").is_file()
    assert sorted(path.name for path in (tmp_path / "drop/done").glob("[!.]*")) == ["chiefs.csv"]


def test_the_example_settings_can_be_uncommented_and_added_to(tmp_path: Path) -> None:
    """`init` writes them; nothing of them is in the way of a section that is added below."""
    text = (ROOT / "kbsync/kbsync.example.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text) == {}
    shown = re.sub(r'^# (?=\[|\w+ = |  "|\])', "", text, flags=re.MULTILINE)
    (tmp_path / "kbsync.toml").write_text(shown, encoding="utf-8")
    settings = load(tmp_path / "kbsync.toml", {})
    assert set(settings.sources) == {"wikidata", "crm"}
    assert settings.edit.layers == (3, 4, 5, 6, 7, 8)
