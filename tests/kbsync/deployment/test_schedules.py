"""Whatever happens in whatever order, servers end with what is live, and the log tells the same as the tables."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from editing.storage import checkpoints
from tests.support.promoted import Place
from tests.support.replay import check
from tests.support.stand_ins import Sglang, StandIn, Vllm, listening

RELOAD = {"vllm": "/collective_rpc", "sglang": "/update_weights_from_disk"}
POINTS = ["kbsync.promotion:after-commit"] + [
    f"kbsync.deploying:{where}" for where in ("before-telling", "after-telling", "after-row")
]


def hooks(servers: dict[str, StandIn], on_failure: str) -> str:
    return "".join(
        f"[deploy.{name}]\nkind = '{name}'\nurl = '{server.url}'\nsettle = 0\nattempts = 2\n"
        f"on_failure = '{on_failure}'\n"
        for name, server in servers.items()
    )


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
def test_servers_end_with_what_is_live_after_any_schedule_of_accidents(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    with listening(Vllm()) as vllm, listening(Sglang()) as sglang:
        servers = {"vllm": vllm, "sglang": sglang}
        place = Place(tmp_path, hooks(servers, chance.choice(["keep", "rollback"])))
        place.promoted(Q1="Q1000")
        for number in range(8):
            accident(place, servers, chance, number)
        for server in servers.values():
            server.faults, server.dead = {}, False
        for _ in range(4):
            place.later(hours=2)
        live = checkpoints.read_live(tmp_path / "home" / "checkpoints")
        with place.application().state.read() as tx:
            stands = tx.live()
            assert stands is not None
            assert stands.path == live
            assert {row.state for row in tx.deployments(promotion=stands.promotion)} == {"deployed"}
            assert not tx.runs(state="promoted"), "every run has come to its end"
        assert isinstance(vllm, Vllm)
        assert isinstance(sglang, Sglang)
        assert vllm.version == sglang.version
        assert vllm.version.startswith(f"{live}@")
        assert not vllm.paused
        check(place.application().state)


def accident(place: Place, servers: dict[str, StandIn], chance: random.Random, number: int) -> None:
    """One thing that may happen to an operator, a server or the daemon."""
    name = chance.choice(sorted(servers))
    match chance.choice(["promote", "promote", "killed", "rollback", "refuse", "restart", "away", "later"]):
        case "promote":
            place.promoted(Q1=f"Q{2000 + number}")
        case "killed":
            run = place.staged(Q1=f"Q{3000 + number}")
            servers[name].faults, servers[name].dead = {}, False
            place.drive_until_killed(run, chance.choice(POINTS))
            place.later()
        case "rollback":
            with place.application().state.read() as tx:
                possible = tx.previous() is not None
            if possible:
                place.rollback()
        case "refuse":
            servers[name].faults[RELOAD[name]] = [(500, {"error": "no"})] * chance.randint(1, 4)
        case "restart":
            servers[name].restart()
        case "away":
            servers[name].dead = not servers[name].dead
        case "later":
            place.later(minutes=chance.choice([1, 30, 300]))
