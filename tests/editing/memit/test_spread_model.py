"""The tests of a model on two devices, in a process of their own."""

from __future__ import annotations

import pytest

from tests.support.own_process import passes


@pytest.mark.slow
@pytest.mark.timeout(3600)  # it has the time limits of its tests
def test_a_model_on_two_devices_does_what_it_does_on_one() -> None:
    assert "6 passed" in passes("tests/editing/memit/on_two_devices.py")
