"""The tests of experiments on a device, in a process of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.paths import REPOSITORY


@pytest.mark.thorough
@pytest.mark.timeout(7200)  # it has the time limits of its tests
def test_every_experiment_runs_on_another_device_than_the_cpu() -> None:
    tests = REPOSITORY / "tests/kbsync/experiments/on_a_device.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
