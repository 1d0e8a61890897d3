"""Ctrl-C in `kbsync demo`: it says what happens next, and that is what happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path


def test_an_interrupted_demo_says_that_it_starts_from_the_beginning(tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = subprocess.Popen(
        [sys.executable, "-m", "kbsync", "--home", str(home), "demo"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("1. "):
            break
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait() == 130
    assert "interrupted: the story does not continue; the same command starts it again and replaces" in rest
    assert "run the same command again to continue" not in rest, rest
    assert (home / "kbsync.toml").exists(), "it can be looked at"
