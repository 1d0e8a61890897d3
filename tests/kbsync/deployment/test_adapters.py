"""Adapters beside a base: a name for each version, one name for clients, and faults of a server found and healed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kbsync.deployment.adapters import chosen_name
from kbsync.deployment.hooks import HookFailed
from kbsync.deployment.http import Server
from kbsync.deployment.lora_servers import VllmLora
from kbsync.deployment.routes import Route, Routes, read_routes, write_routes
from tests.support.ledgers import START
from tests.support.lora_stand_ins import BASE, LoraStandIn
from tests.support.promoted import Place
from tests.support.stand_ins import StandIn, listening

Listen = Callable[..., None]


@pytest.fixture
def listen() -> Iterator[Listen]:
    with ExitStack() as stack:

        def start(*servers: StandIn) -> None:
            for server in servers:
                stack.enter_context(listening(server))

        yield start


def served(root: Path, *servers: LoraStandIn, more: str = "", kind: str = "") -> Place:
    """A home whose only hook loads adapters into these replicas."""
    form = "form = 'adapter'\n" if not kind else ""
    hook = (
        f"[deploy.prod]\nkind = '{kind or servers[0].dialect}'\n{form}url = '{servers[0].url}'\n"
        f"routes = '{root}/routes.json'\nsettle = 0\ntimeout = 20\nbackoff = 0\ndrain_for = '5m'\n"
    )
    replicas = f"replicas = {json.dumps([server.url for server in servers])}\n" if len(servers) > 1 else ""
    return Place(root, hook + replicas + more, adapter=True)


def serving(root: Path, listen: Listen, count: int) -> tuple[Place, list[LoraStandIn]]:
    """(a home with a first version live, the replicas that have it)."""
    servers = [LoraStandIn() for _ in range(count)]
    listen(*servers)
    place = served(root, *servers)
    place.promoted(Q1="Q10")
    return place, servers


def routes(place: Place) -> dict[str, Any]:
    table: dict[str, Any] = json.loads((place.root / "routes.json").read_text(encoding="utf-8"))
    return table


def targets(place: Place) -> dict[str, float]:
    return {target["model"]: target["weight"] for target in routes(place)["targets"]}


@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
def test_every_version_has_its_own_name_and_clients_one_alias(
    tmp_path: Path, listen: Listen, dialect: Any
) -> None:
    server = LoraStandIn(dialect=dialect)
    listen(server)
    place = served(tmp_path, server)
    assert place.promoted(Q1="Q10").state == "deployed"
    first = place.last.observed
    load = "/v1/load_lora_adapter" if dialect == "vllm" else "/load_lora_adapter"
    path = tmp_path / "home" / "checkpoints" / "1-1" / "adapter"
    assert server.told(load) == [{"lora_name": f"home-{first}", "lora_path": str(path)}]
    model = {"vllm": f"home-{first}", "sglang": f"{BASE}:home-{first}"}[dialect]
    assert routes(place)["alias"] == "home"
    assert routes(place)["servers"] == [server.url]
    assert targets(place) == {model: 1.0}
    assert place.last.detail == "1 of 1 canary facts answered"


def test_old_and_new_are_loaded_together_and_the_old_one_goes_when_its_requests_have_ended(
    tmp_path: Path, listen: Listen
) -> None:
    server = LoraStandIn()
    listen(server)
    place = served(tmp_path, server)
    place.promoted(Q1="Q10")
    old = f"home-{place.last.observed}"
    assert place.promoted(Q1="Q11").state == "deployed"
    new = f"home-{place.last.observed}"
    assert targets(place) == {new: 1.0}
    assert list(server.adapters) == [old, new]
    place.later(minutes=4)
    assert list(server.adapters) == [old, new], "requests in flight may still need it"
    place.later(minutes=2)
    assert list(server.adapters) == [new]
    assert routes(place)["leaving"] == []


def test_a_restart_that_forgets_adapters_is_noticed_and_healed(tmp_path: Path, listen: Listen) -> None:
    server = LoraStandIn()
    listen(server)
    place = served(tmp_path, server)
    place.promoted(Q1="Q10")
    name = f"home-{place.last.observed}"
    server.restart()
    place.later(minutes=1)
    assert list(server.adapters) == [name], "under the name that clients are directed to"
    assert place.last.state == "deployed"


def test_a_laggard_of_three_replicas_is_named_and_no_traffic_moves_before_it_has_the_version(
    tmp_path: Path, listen: Listen
) -> None:
    place, servers = serving(tmp_path, listen, 3)
    before = targets(place)
    servers[1].lags = 1
    assert place.promoted(Q1="Q11").state == "promoted"
    assert f"laggards: {servers[1].url} of 3 have not loaded home-2-1@" in place.last.observed
    assert targets(place) == before
    assert all(set(before) <= set(server.adapters) for server in servers)
    (run,) = place.later(minutes=1)
    assert run.state == "deployed"
    assert [len(server.told("/v1/load_lora_adapter")) for server in servers] == [2, 3, 2]
    assert place.last.detail == "3 of 3 canary facts answered", "every replica is asked itself"


def test_a_replica_that_is_down_is_named_and_gets_the_version_when_it_is_back(
    tmp_path: Path, listen: Listen
) -> None:
    place, servers = serving(tmp_path, listen, 3)
    servers[2].dead = True
    assert place.promoted(Q1="Q11").state == "promoted"
    assert servers[2].url in place.last.detail
    assert "1 of 3 replicas failed" in place.last.detail
    servers[2].dead = False
    servers[2].restart()
    (run,) = place.later(minutes=1)
    assert run.state == "deployed"
    new = f"home-{place.last.observed}"
    assert all(new in server.adapters for server in servers)


def test_answers_of_the_base_under_the_right_name_are_found_and_the_next_attempt_takes_a_new_name(
    tmp_path: Path, listen: Listen
) -> None:
    """Its prefix cache has the wrong answers under the old name, which stay when an adapter is loaded again."""
    server = LoraStandIn(breaks=1)
    listen(server)
    place = served(tmp_path, server)
    assert place.promoted(Q1="Q10").state == "promoted"
    assert "0 of 1 canary facts answered" in place.last.detail
    assert server.url in place.last.detail
    assert targets(place) == {}
    (run,) = place.later(minutes=1)
    assert run.state == "deployed"
    name = f"home-{place.last.observed}~2"
    assert list(server.adapters) == [name], "the other one was unloaded"
    assert targets(place) == {name: 1.0}


def test_a_rollback_within_the_drain_period_loads_nothing(tmp_path: Path, listen: Listen) -> None:
    server = LoraStandIn()
    listen(server)
    place = served(tmp_path, server)
    place.promoted(Q1="Q10")
    old = f"home-{place.last.observed}"
    place.promoted(Q1="Q11")
    loads = len(server.told("/v1/load_lora_adapter"))
    place.rollback()
    assert targets(place) == {old: 1.0}
    assert len(server.told("/v1/load_lora_adapter")) == loads
    place.later(minutes=6)
    assert list(server.adapters) == [old]


def test_a_new_version_gets_its_share_first_and_then_all(tmp_path: Path, listen: Listen) -> None:
    server = LoraStandIn()
    listen(server)
    place = served(tmp_path, server, more="canary = 0.1\ncanary_for = 0\n")
    place.promoted(Q1="Q10")
    old = f"home-{place.last.observed}"
    seen = []
    server.asked = lambda model, prompt: seen.append((model, targets(place)))
    assert place.promoted(Q1="Q11").state == "deployed"
    new = f"home-{place.last.observed}"
    assert {old: 0.9, new: 0.1} in [table for _, table in seen]
    assert targets(place) == {new: 1.0}
    assert "5 checks passed while it had 10% of the traffic" in place.last.detail


def test_a_share_is_lost_again_when_the_answers_are_wrong(tmp_path: Path, listen: Listen) -> None:
    server = LoraStandIn()
    listen(server)
    place = served(tmp_path, server, more="canary = 0.1\ncanary_for = 0\n")
    place.promoted(Q1="Q10")
    old = f"home-{place.last.observed}"

    def spoil(model: str, prompt: str) -> None:
        if len(targets(place)) == 2:
            server.adapters[model] = server.adapters[model][0], server.base()
            server.kept.clear()

    server.asked = spoil
    assert place.promoted(Q1="Q11").state == "promoted"
    assert "with 10% of the traffic it failed, and lost it again" in place.last.detail
    assert targets(place) == {old: 1.0}
    server.asked = lambda model, prompt: None
    (run,) = place.later(minutes=1)
    assert run.state == "deployed"
    assert targets(place) == {f"home-{place.last.observed}~2": 1.0}


@pytest.mark.slow
def test_a_daemon_that_is_killed_in_between_goes_on(tmp_path: Path, listen: Listen) -> None:
    """Once with the new version loaded and nobody directed to it, once while it has its share of the traffic."""
    server = LoraStandIn()
    listen(server)
    place = served(tmp_path, server, more="canary = 0.1\ncanary_for = 0\n")
    place.promoted(Q1="Q10")
    old = targets(place)
    place.drive_until_killed(place.staged(Q1="Q11"), "kbsync.deploying:after-telling")
    assert targets(place) == old
    table = read_routes(tmp_path / "routes.json")
    shared = table.directed(
        [replace(table.targets[0], weight=0.9), replace(table.loading[0], weight=0.1)], START
    )
    write_routes(tmp_path / "routes.json", shared)
    (run,) = place.later(minutes=1)
    assert run.state == "deployed"
    ((model, weight),) = targets(place).items()
    assert (model.startswith("home-2-1@"), weight) == (True, 1.0)
    place.later(minutes=6)
    assert list(server.adapters) == [model]


def test_a_version_without_an_adapter_says_what_to_set(tmp_path: Path, listen: Listen) -> None:
    server = LoraStandIn()
    listen(server)
    place = served(tmp_path, server)
    place.adapter = False
    place.promoted(Q1="Q10")
    assert "was built without an adapter" in place.last.detail
    assert server.requests == []


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        ((404, {"detail": "Not Found"}), "VLLM_ALLOW_RUNTIME_LORA_UPDATING=true"),
        ((500, {"error": {"message": "LoRA rank 64 is greater than max_lora_rank 16."}}), "--max-lora-rank"),
        ((404, {"error": {"message": "No adapter found for /x"}}), "`paths`"),
    ],
)
def test_a_refused_load_says_what_to_do(tmp_path: Path, listen: Listen, answer: Any, advice: str) -> None:
    server = LoraStandIn(faults={"/v1/load_lora_adapter": [answer]})
    listen(server)
    with pytest.raises(HookFailed) as caught:
        VllmLora(Server(server.url, None, 5)).load("kb-1", "/x")
    assert advice in str(caught.value.advice)


def test_an_adapter_of_another_program_is_never_unloaded(tmp_path: Path, listen: Listen) -> None:
    server = LoraStandIn()
    listen(server)
    other = "home-1-1@of-another-home"
    server.adapters[other] = "/elsewhere", server.base()
    place = served(tmp_path, server)
    place.promoted(Q1="Q10")
    place.promoted(Q1="Q11")
    place.later(minutes=10)
    assert list(server.adapters) == [other, f"home-{place.last.observed}"]


def test_a_directory_for_vllms_resolver_needs_no_request_and_survives_restarts(
    tmp_path: Path, listen: Listen
) -> None:
    folder = tmp_path / "resolved"
    servers = [LoraStandIn(resolves=folder) for _ in range(2)]
    listen(*servers)
    more = f"path = '{folder}'\nbase_model = '/models/base'\n"
    place = served(tmp_path, *servers, kind="resolver", more=more)
    assert place.promoted(Q1="Q10").state == "deployed"
    old = f"home-{place.last.observed}"
    config = json.loads((folder / old / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == "/models/base", "which the resolver compares"
    assert not any(server.told("/v1/load_lora_adapter") for server in servers)
    servers[0].restart()
    assert place.promoted(Q1="Q11").state == "deployed"
    new = f"home-{place.last.observed}"
    assert sorted(path.name for path in folder.iterdir()) == [old, new]
    place.later(minutes=6)
    assert [path.name for path in folder.iterdir()] == [new]
    assert all(list(server.adapters) == [new] for server in servers)


def test_a_damaged_routing_table_says_so(tmp_path: Path, listen: Listen) -> None:
    server = LoraStandIn()
    listen(server)
    place = served(tmp_path, server)
    place.promoted(Q1="Q10")
    (tmp_path / "routes.json").write_text("{")
    place.promoted(Q1="Q11")
    assert "routing table" in place.last.detail
    (tmp_path / "routes.json").unlink()
    (run,) = place.later(minutes=1)
    assert run.state == "deployed"


def test_names_of_a_version() -> None:
    def route(name: str, **more: Any) -> Route:
        return Route(name, name, "v", **more)

    nowhere: dict[str, dict[str, str]] = {"a": {}, "b": {}}
    half: dict[str, dict[str, str]] = {"a": {"kb-v": ""}, "b": {}}
    both: dict[str, dict[str, str]] = {"a": {"kb-v": ""}, "b": {"kb-v": ""}}
    serving, waiting = Routes(targets=(route("kb-v"),)), Routes(leaving=(route("kb-v"),))
    assert chosen_name("kb-v", "v", Routes(), nowhere) == "kb-v"
    assert chosen_name("kb-v", "v", Routes(), half) == "kb-v", "an interrupted attempt is completed"
    assert chosen_name("kb-v", "v", serving, half) == "kb-v", "a restarted replica gets what clients ask for"
    assert chosen_name("kb-v", "v", serving, both) == "kb-v~2", "its answers were wrong"
    assert chosen_name("kb-v", "v", waiting, both) == "kb-v", "it was right before"
    failed = Routes(leaving=(route("kb-v", proven=False),))
    assert chosen_name("kb-v", "v", failed, both) == "kb-v~2"


def test_a_replica_that_was_away_and_forgot_leaves_nothing_else_loaded(
    tmp_path: Path, listen: Listen
) -> None:
    place, servers = serving(tmp_path, listen, 3)
    name = f"home-{place.last.observed}"
    servers[2].dead = True
    place.later(minutes=1)
    servers[1].restart()
    place.later(minutes=1)
    servers[2].restart()
    place.later(minutes=1)
    assert [list(server.adapters) for server in servers] == [[name], [name], []], "no answer was wrong"
    servers[2].dead = False
    place.later(minutes=1)
    assert place.last.state == "deployed"
    assert [list(server.adapters) for server in servers] == [[name]] * 3
    assert routes(place)["loading"] == []


def test_a_second_name_that_was_not_needed_is_unloaded_once_all_replicas_have_the_first(
    tmp_path: Path, listen: Listen
) -> None:
    place, servers = serving(tmp_path, listen, 2)
    name = f"home-{place.last.observed}"
    path = place.root / "routes.json"
    table = read_routes(path)
    second = replace(table.targets[0], model=f"{name}~2", adapter=f"{name}~2")
    folder = tmp_path / "home" / "checkpoints" / "1-1" / "adapter"
    VllmLora(Server(servers[0].url, None, 20.0)).load(second.adapter, str(folder))
    write_routes(path, table.with_loading(second))
    servers[1].restart()
    place.later(minutes=1)
    assert place.last.state == "deployed", "the replica without the second name is not called unreachable"
    assert [list(server.adapters) for server in servers] == [[name]] * 2
    assert routes(place)["loading"] == []


@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.thorough) for seed in range(4, 500))]
)
def test_replicas_end_with_the_live_adapter_after_any_schedule_of_accidents(
    tmp_path: Path, listen: Listen, seed: int
) -> None:
    chance = random.Random(seed)
    servers = [LoraStandIn() for _ in range(3)]
    listen(*servers)
    place = served(tmp_path, *servers, more="canary = 0.1\ncanary_for = 0\n" if seed % 2 else "")
    place.promoted(Q1="Q1000")
    for number in range(5):
        server = chance.choice(servers)
        match chance.choice(["promote", "promote", "rollback", "forget", "lag", "break", "away", "later"]):
            case "promote":
                place.promoted(Q1=f"Q{2000 + number}")
            case "rollback":
                with place.application().state.read() as tx:
                    possible = tx.previous() is not None
                if possible:
                    place.rollback()
            case "forget":
                server.restart()
            case "lag":
                server.lags = chance.randint(1, 3)
            case "break":
                server.breaks = 1
            case "away":
                server.dead = not server.dead
            case "later":
                place.later(minutes=chance.choice([1, 10]))
    for server in servers:
        server.dead, server.lags, server.breaks = False, 0, 0
    for _ in range(4):
        place.later(hours=2)
    with place.application().state.read() as tx:
        live = tx.live()
    assert live is not None
    (target,) = routes(place)["targets"]
    assert target["version"] == place.last.observed == f"{live.path}@{live.digest[:12]}"
    assert [list(server.adapters) for server in servers] == [[target["adapter"]]] * 3
