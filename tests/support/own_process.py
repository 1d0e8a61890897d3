"""Tests in a file that pytest does not collect, run in a process of their own."""

from __future__ import annotations

import subprocess
import sys

from tests.support.paths import REPOSITORY


def passes(file: str) -> str:
    """What pytest says of `file`, relative to the repository, all of whose tests have to pass."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(REPOSITORY / file)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    return done.stdout
