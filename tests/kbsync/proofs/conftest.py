"""A home with something to prove."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.proven import make


@pytest.fixture
def home(tmp_path: Path, empty_ledger: Path) -> Path:
    """Two facts live as checkpoint 1, three as checkpoint 2; a key signs."""
    return make(tmp_path, empty_ledger)
