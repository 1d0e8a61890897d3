"""The pretrained chat model, for tests with the marker `pretrained`: found, never downloaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbsync.demo import pretrained as model


@pytest.fixture(scope="session")
def pretrained() -> Path:
    """The directory of the model that `make pretrained` sets up; without it, the test is skipped."""
    if not model.is_set_up():
        pytest.skip(f"there is no model in {model.directory()}: run `make pretrained` (93 MB to download)")
    return model.directory()
