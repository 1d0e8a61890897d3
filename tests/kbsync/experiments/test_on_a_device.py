"""The tests of experiments on a device, in a process of their own."""

from __future__ import annotations

import pytest

from tests.support.own_process import passes


@pytest.mark.thorough
@pytest.mark.timeout(7200)  # it has the time limits of its tests
def test_every_experiment_runs_on_another_device_than_the_cpu() -> None:
    assert " passed" in passes("tests/kbsync/experiments/on_a_device.py")
