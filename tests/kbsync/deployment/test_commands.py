"""What an operator types: `deployments`, `status`, `rollback`, `config check`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from kbsync.cli.app import app
from kbsync.cli.syncing import exit_code
from kbsync.service.cycle import CycleReport
from tests.support.promoted import Place
from tests.support.stand_ins import Sglang, listening


@pytest.fixture
def server() -> Iterator[Sglang]:
    with listening(Sglang()) as server:
        assert isinstance(server, Sglang)
        yield server


@pytest.fixture
def place(tmp_path: Path, server: Sglang) -> Place:
    return Place(tmp_path, f"[deploy.prod]\nkind = 'sglang'\nurl = '{server.url}'\nsettle = 0\n")


def typed(place: Place, *words: str) -> Result:
    return CliRunner().invoke(app, ["--home", str(place.root / "home"), *words], catch_exceptions=False)


def servers(place: Place, *words: str) -> dict[str, Any]:
    found = json.loads(typed(place, "deployments", "--json", *words).stdout)
    return {one["hook"]: one for one in found["servers"]}


def test_deployments_shows_link_servers_and_outbox(place: Place) -> None:
    place.promoted(Q1="Q10")
    found = json.loads(typed(place, "deployments", "--json").stdout)
    assert [(one["hook"], one["matches"]) for one in found["servers"]] == [("live", True), ("prod", True)]
    assert [(one["hook"], one["state"]) for one in found["outbox"]] == [("prod", "deployed")]
    assert "1 of 1 canary facts answered" in typed(place, "deployments").stdout


def test_what_was_last_seen_and_what_is_observed_now_are_distinguished(place: Place, server: Sglang) -> None:
    place.promoted(Q1="Q10")
    server.restart()
    assert servers(place)["prod"]["matches"] is True
    now = servers(place, "--ask")["prod"]
    assert (now["matches"], now["observed"]) == (False, "default")
    server.dead = True
    assert "disconnected" in servers(place, "--ask")["prod"]["detail"]


def test_a_server_that_failed_says_when_it_is_tried_again(place: Place, server: Sglang) -> None:
    place.promoted(Q1="Q10")
    server.faults["/update_weights_from_disk"] = [(400, {"success": False, "message": "CUDA error"})]
    place.promoted(Q1="Q11")
    status = typed(place, "status").stdout
    assert "served by live" in status
    assert "served by prod" in status
    assert "last seen: 1-1@" in status
    assert "next try after" in status
    assert "CUDA error" in status


def test_a_rollback_tells_the_servers_at_once(place: Place, server: Sglang) -> None:
    place.promoted(Q1="Q10")
    place.promoted(Q1="Q11")
    # The command reads the wall clock: whatever the tests' clock says is long ago.
    done = typed(place, "rollback", "--reason", "wrong")
    assert done.exit_code == 0, done.output
    assert server.version.startswith("1-1@")
    assert "prod: 1-1@" in done.output


def test_a_run_that_waits_for_its_servers_is_to_be_tried_later(place: Place, server: Sglang) -> None:
    server.faults["/update_weights_from_disk"] = [(400, {"success": False})]
    waiting = place.promoted(Q1="Q10")
    assert exit_code(CycleReport((waiting,))) == 75
    assert exit_code(CycleReport((place.drive(waiting, asked=True),))) == 0
