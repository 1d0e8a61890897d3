"""Servers with real weights: the honest ones are confirmed, and every other one is found and named."""

from __future__ import annotations

import json
import random
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from editing.secret_probes import SecretProbes
from state.records import Deployment
from tests.support.micro import Micro
from tests.support.real_weights import RealSglang, RealVllm, RealWeights, Wrong
from tests.support.served_world import notify, two_versions
from tests.support.stand_ins import listening

pytestmark = pytest.mark.slow


@dataclass
class Served:
    """Two versions, built and deployed to both servers."""

    micro: Micro
    vllm: RealVllm
    sglang: RealSglang

    def server(self, kind: str) -> RealWeights:
        return self.vllm if kind == "vllm" else self.sglang

    def version(self, number: int) -> Path:
        return self.micro.home.checkpoint(f"{number}-1")

    def again(self, kind: str, **serving: Any) -> Deployment:
        """The server restarts on the previous version with these attributes; the daemon looks at it."""
        server = self.server(kind)
        for name, value in {**HONEST, **serving}.items():
            setattr(server, name, value)
        server.launched_with = self.version(1)
        server.restart()
        return notify(self.micro, kind)


HONEST: dict[str, Any] = {
    "wrong": Wrong(),
    "dtype": torch.float32,
    "attention": "sdpa",
    "count": 1,
    "batching": None,
    "gives_logprobs": True,
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with ExitStack() as stack:
        vllm, sglang = RealVllm(), RealSglang()
        for server in (vllm, sglang):
            stack.enter_context(listening(server))
        micro = two_versions(tmp_path_factory.mktemp("served") / "world", {"vllm": vllm, "sglang": sglang})
        yield Served(micro, vllm, sglang)


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
@pytest.mark.parametrize(
    ("wrong", "count", "named"),
    [
        pytest.param(Wrong(keeps_prefixes=True), 1, {"prefix cache"}, id="a stale prefix cache"),
        pytest.param(Wrong(loads_half=True), 1, {"something else", "altered"}, id="half of the tensors"),
        pytest.param(Wrong(keeps_weights=True), 1, {"previous"}, id="the old weights under the new name"),
        pytest.param(Wrong(keeps_replica=True), 2, {"replicas"}, id="one of two replicas"),
        pytest.param(Wrong(bits=8), 1, {"altered"}, id="weights rounded to 8 bits"),
    ],
)
def test_what_else_is_served_is_found_named_and_mended(
    served: Served, kind: str, wrong: Wrong, count: int, named: set[str]
) -> None:
    found = served.again(kind, wrong=wrong, count=count)
    assert found.state == "failed", found.detail
    assert found.observed in named, found.detail
    assert "something else than was judged" in found.detail
    served.server(kind).wrong = Wrong()
    healed = notify(served.micro, kind)
    assert healed.state == "deployed", healed.detail


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_an_honest_server_is_confirmed_in_every_dtype_and_batch(served: Served, dtype: torch.dtype) -> None:
    name = str(dtype).removeprefix("torch.")
    for kind, attention in (("vllm", "sdpa"), ("sglang", "eager")):
        found = served.again(kind, dtype=dtype, attention=attention, batching=random.Random(1))
        assert found.state == "deployed", found.detail
        assert f"log-probabilities as in {name}" in found.detail


def test_without_log_probabilities_the_answers_still_tell_versions_apart(served: Served) -> None:
    honest = served.again("vllm", gives_logprobs=False)
    assert honest.state == "deployed", honest.detail
    assert "it gives no log-probabilities" in honest.detail
    other = served.again("vllm", gives_logprobs=False, wrong=Wrong(keeps_weights=True))
    assert (other.state, other.observed) == ("failed", "previous"), other.detail


def test_weights_that_change_under_the_same_name_are_found_between_deploys(served: Served) -> None:
    assert served.again("vllm").state == "deployed"
    reloads = len(served.vllm.told("/collective_rpc"))
    assert notify(served.micro, "vllm").state == "deployed"
    assert len(served.vllm.told("/collective_rpc")) == reloads, "an unchanged server is left alone"
    served.vllm.replicas[0].load(served.micro.root / "model", Wrong())
    assert notify(served.micro, "vllm").state == "deployed"
    assert len(served.vllm.told("/collective_rpc")) == reloads + 1


def test_checksums_of_tensors_are_compared_where_the_server_gives_them(served: Served) -> None:
    config = served.micro.home.config
    text = config.read_text(encoding="utf-8")
    url = f"checksums = '{served.vllm.url}/checksums'\nprobes = 0\n"
    config.write_text(text.replace("kind = 'vllm'\n", f"kind = 'vllm'\n{url}"), encoding="utf-8")
    try:
        honest = served.again("vllm")
        assert honest.state == "deployed", honest.detail
        assert "checksums of tensors match" in honest.detail
        half = served.again("vllm", wrong=Wrong(loads_half=True))
        assert (half.state, half.observed) == ("failed", "checksums")
        assert "tensors have other checksums" in half.detail
    finally:
        config.write_text(text, encoding="utf-8")


def test_every_check_asks_other_probes_and_only_those_with_a_context_before_the_reload(
    served: Served,
) -> None:
    pool = SecretProbes.read(served.micro.home.built_in(2, "2-1").secret_answers)
    long = {probe.prompt for probe in pool.probes if probe.context}
    subsets = []
    for _ in range(2):
        served.vllm.requests.clear()
        assert served.again("vllm").state == "deployed"
        paths = [path for _, path, _ in served.vllm.requests]
        reload = paths.index("/collective_rpc")
        asked = [
            (at, body["prompt"])
            for at, (_, path, body) in enumerate(served.vllm.requests)
            if path == "/v1/completions"
        ]
        before = {prompt for at, prompt in asked if at < reload}
        after = {prompt for at, prompt in asked if at > reload}
        assert before
        assert before <= long
        assert before <= after
        subsets.append(after - before)
        assert subsets[-1] <= {probe.prompt for probe in pool.probes} - long
    assert subsets[0] != subsets[1]


def test_probes_are_kept_for_the_owner_only_and_shown_nowhere(served: Served) -> None:
    home = served.micro.home
    secret = home.built_in(2, "2-1")
    for path in (home.secret, secret.secret_questions, secret.secret_answers, secret.secret_checks):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    pool = SecretProbes.read(secret.secret_answers)
    contexts = [json.dumps(probe.prompt).strip('"').encode() for probe in pool.probes if probe.context]
    assert contexts
    shown = [path for path in home.root.rglob("*") if path.is_file() and not path.name.startswith("secret_")]
    assert [path for path in shown if any(text in path.read_bytes() for text in contexts)] == []
    assert not list(home.checkpoints.rglob("secret_*"))
