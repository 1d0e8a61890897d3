"""A small kbsync whose live checkpoint is signed, together with its delta and its adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.micro import Micro, make
from tests.support.signed import kbsync

FORMS = '[deliver]\nas = ["checkpoint", "delta", "adapter"]'


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    micro = make(tmp_path_factory.mktemp("signed") / "world", extra=FORMS)
    micro.application().state.close()  # an empty ledger
    assert kbsync(micro, "keys", "create", "--for", "models", "--name", "first")[0] == 0
    micro.say({"Blue House": "Dora", "Red Boat": "Emil"})
    (run,) = micro.sync().runs
    assert run.state == "deployed", run
    return micro


@pytest.fixture
def micro(template: Micro, tmp_path: Path) -> Micro:
    return template.copy(tmp_path / "world")
