"""One tiny taught model for all experiments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import taught_facts


@pytest.fixture(scope="session")
def taught_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its directory; beside it are the facts that it knows and text for its statistics."""
    directory = taught_facts.save(tmp_path_factory.mktemp("taught") / "model")
    values = {
        "layers": [0, 1],
        "prefixes": 1,
        "steps": 6,
        "optimiser": "lbfgs",
        "statistics_samples": 20,
        "lam": 50.0,
    }
    (directory / "kbsync-edit.json").write_text(json.dumps(values), encoding="utf-8")
    (directory.parent / "text.txt").write_text("\n".join(taught_facts.taught.sentences()), encoding="utf-8")
    return directory
