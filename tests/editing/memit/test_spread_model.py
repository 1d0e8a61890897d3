"""The tests of a model on two devices, in a process of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.paths import REPOSITORY


@pytest.mark.slow
@pytest.mark.timeout(3600)  # it has the time limits of its tests
def test_a_model_on_two_devices_does_what_it_does_on_one() -> None:
    tests = REPOSITORY / "tests/editing/memit/on_two_devices.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "6 passed" in done.stdout
