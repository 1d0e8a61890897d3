"""A promoted adapter answers as it was judged, with plain peft and on servers; what else they do is healed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from editing.evaluation.metrics import answers
from editing.storage.checkpoints import read_changed
from kbsync.deployment.served import ask_now
from state.records import Deployment
from tests.support.micro import Micro
from tests.support.real_adapters import RealLora, adapter_world, judged
from tests.support.served_world import notify
from tests.support.stand_ins import listening

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]


@dataclass
class World:
    micro: Micro
    servers: list[RealLora]

    @property
    def table(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.micro.root / "routes.json").read_text(encoding="utf-8"))
        return found

    @property
    def routed(self) -> str:
        (target,) = self.table["targets"]
        return str(target["adapter"])

    def look(self) -> Deployment:
        return notify(self.micro, "prod")

    def honest(self) -> Deployment:
        """All faults end, and the daemon looks until everything is as it should be."""
        for server in self.servers:
            server.lags = server.breaks = 0
            server.shares_prefixes = server.dead = False
        for _ in range(4):
            row = self.look()
        return row

    def check(self) -> None:
        """Clients of the alias get what was judged from every replica."""
        facts = judged(self.micro, 2)
        assert len(facts) == 4
        for server in self.servers:
            for prompt, answer in facts.items():
                body = {"model": self.routed, "prompt": prompt, "max_tokens": 8, "temperature": 0}
                _, said = server.completed(body)
                assert said["choices"][0]["text"].strip().startswith(answer.strip()), server.url


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        servers = [RealLora() for _ in range(3)]
        for server in servers:
            stack.enter_context(listening(server))
        micro = adapter_world(tmp_path_factory.mktemp("adapters") / "world", servers)
        yield World(micro, servers)


def test_plain_peft_gives_the_answers_that_were_judged_and_merged_it_is_the_checkpoint(world: World) -> None:
    checkpoint = world.micro.home.live.resolve()
    base = next(path for path in (world.micro.home.root / "base").iterdir() if path.is_dir())
    plain = AutoModelForCausalLM.from_pretrained(base)
    adapted = PeftModel.from_pretrained(plain, checkpoint / "adapter").eval()
    facts = judged(world.micro, 2)
    said = answers(adapted.get_base_model(), AutoTokenizer.from_pretrained(base), list(facts))
    assert [one.strip() for one in said] == [answer.strip() for answer in facts.values()]
    merged = adapted.merge_and_unload()
    changed = read_changed(base, checkpoint)
    assert changed
    for name, tensor in changed.items():
        assert torch.allclose(merged.get_parameter(name), tensor, atol=1e-6, rtol=1e-5), name


def test_three_replicas_answer_as_judged_under_the_clients_name(world: World) -> None:
    assert world.honest().state == "deployed"
    assert world.table["alias"] == "home"
    assert world.routed.startswith("home-2-1@")
    world.check()


def test_a_forgotten_adapter_is_loaded_again(world: World) -> None:
    world.honest()
    world.servers[1].restart()
    assert f"laggards: {world.servers[1].url}" in _seen(world)
    assert world.look().state == "deployed"
    world.check()


def test_a_laggard_is_named(world: World) -> None:
    world.honest()
    world.servers[2].restart()
    world.servers[2].lags = 1
    row = world.look()
    assert (row.state, f"laggards: {world.servers[2].url}" in row.observed) == ("failed", True), row.detail
    assert world.look().state == "deployed"
    world.check()


def test_weights_that_change_under_the_same_name_are_found_and_replaced(world: World) -> None:
    world.honest()
    name = world.routed
    world.servers[0].spoil(name)
    assert world.look().state == "deployed"
    assert world.routed != name, "its prefix cache has wrong answers under the old name"
    world.check()


def test_a_prefix_cache_that_does_not_tell_adapters_apart_is_found(world: World) -> None:
    world.honest()
    server = world.servers[0]
    server.shares_prefixes = True
    server.prefixes_of.clear()
    server.spoil(world.routed)  # the answers that it keeps are the base's
    found = world.look()
    assert (found.state, found.observed) in {
        ("failed", "prefix cache"),
        ("failed", "something else"),
        ("failed", "base"),
    }
    assert server.url in found.detail
    world.honest()
    world.check()


@pytest.mark.parametrize(
    "seed",
    [*range(10), *(pytest.param(seed, marks=pytest.mark.thorough) for seed in range(10, 500))],
)
def test_whatever_servers_forget_keep_or_miss_clients_end_with_what_was_judged(
    world: World, seed: int
) -> None:
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 4)):
        server = chance.choice(world.servers)
        match chance.choice(["forgets", "lags", "breaks", "changes", "keeps", "is away", "is back"]):
            case "forgets":
                server.restart()
            case "lags":
                server.lags = chance.randint(1, 2)
            case "breaks":
                server.restart()
                server.breaks = 1
            case "changes":
                for name in server.adapters:
                    server.spoil(name)
            case "keeps":
                server.shares_prefixes = True
            case "is away":
                server.dead = True
            case "is back":
                server.dead = False
        if chance.random() < 0.7:
            world.look()
    row = world.honest()
    assert row.state == "deployed", row.detail
    world.check()
    assert all(set(server.adapters) == {world.routed} for server in world.servers), "nothing else is left"


def _seen(world: World) -> str:
    app = world.micro.application()
    try:
        return next(one.observed for one in ask_now(app) if one.hook == "prod")
    finally:
        app.close()
