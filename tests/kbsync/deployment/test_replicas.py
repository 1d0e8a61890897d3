"""Replicas: listed, resolved or discovered; each is notified, and a laggard is named."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from kbsync.deployment.hooks import HookFailed
from kbsync.deployment.http import Server
from kbsync.deployment.replicas import cluster, endpoints, replicas_of
from kbsync.deployment.served import ask_now
from kbsync.settings.servers import VllmSettings
from tests.support.promoted import Place
from tests.support.stand_ins import Answer, StandIn, Vllm, listening

SETTINGS = TypeAdapter(VllmSettings)


@pytest.fixture
def three() -> Iterator[list[Vllm]]:
    with ExitStack() as stack:
        servers = [Vllm() for _ in range(3)]
        for server in servers:
            stack.enter_context(listening(server))
        yield servers


def fleet(root: Path, servers: list[Vllm]) -> Place:
    urls = json.dumps([server.url for server in servers])
    return Place(
        root,
        f"[deploy.prod]\nkind = 'vllm'\nurl = '{servers[0].url}'\nreplicas = {urls}\n"
        "settle = 0\nbackoff = 0\ntimeout = 20\n",
    )


def test_all_replicas_load_a_checkpoint_and_each_is_asked(tmp_path: Path, three: list[Vllm]) -> None:
    place = fleet(tmp_path, three)
    assert place.promoted(Q1="Q10").state == "deployed"
    assert {server.version for server in three} == {place.last.observed}
    assert place.last.detail == "3 of 3 canary facts answered"


def test_a_replica_that_fails_is_named_and_its_weights_are_not_in_doubt_alone(
    tmp_path: Path, three: list[Vllm]
) -> None:
    place = fleet(tmp_path, three)
    place.promoted(Q1="Q10")
    three[2].faults["/collective_rpc"] = [(500, {"error": "CUDA out of memory"})]
    assert place.promoted(Q1="Q11").state == "promoted"
    assert f"1 of 3 replicas failed ({three[2].url})" in place.last.detail
    assert len({server.version for server in three}) == 1, "all have the version before again"
    (run,) = place.later(minutes=1)
    assert run.state == "deployed"


def test_a_replica_that_was_restarted_is_named_and_gets_live_again(tmp_path: Path, three: list[Vllm]) -> None:
    place = fleet(tmp_path, three)
    place.promoted(Q1="Q10")
    three[1].restart()
    app = place.application()
    (_, seen) = ask_now(app)
    assert seen.observed == (
        f"laggards: {three[1].url} of 3 replicas report default, not {place.last.observed}"
    )
    place.later(minutes=1)
    assert {server.version for server in three} == {place.last.observed}


def test_the_addresses_of_a_name_are_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        assert (host, port) == ("vllm.models.svc", 8000)
        return [(0, 0, 0, "", (address, port)) for address in ("10.0.0.2", "10.0.0.1", "fd00::1")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    settings = SETTINGS.validate_python(
        {"kind": "vllm", "url": "http://vllm.models.svc:8000", "discover": "dns"}
    )
    assert replicas_of(settings, 5) == (
        "http://10.0.0.1:8000",
        "http://10.0.0.2:8000",
        "http://[fd00::1]:8000",
    )


def test_a_name_that_nobody_knows_is_a_failure() -> None:
    settings = SETTINGS.validate_python({"kind": "vllm", "url": "http://gpu.invalid:1", "discover": "dns"})
    with pytest.raises(HookFailed, match=r"gpu\.invalid cannot be resolved"):
        replicas_of(settings, 5)


@dataclass
class ApiServer(StandIn):
    """Kubernetes' API server, as far as it lists endpoints."""

    slices: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        if path != "/apis/discovery.k8s.io/v1/namespaces/models/endpointslices":
            return 404, {"kind": "Status"}
        assert query == {"labelSelector": "kubernetes.io/service-name=vllm"}
        return 200, {"kind": "EndpointSliceList", "items": self.slices}


def slice_of(
    *addresses: tuple[str, bool | None], ports: Any = ({"port": 8000, "name": ""},)
) -> dict[str, Any]:
    return {
        "ports": list(ports),
        "endpoints": [
            {"addresses": [address], "conditions": {} if ready is None else {"ready": ready}}
            for address, ready in addresses
        ],
    }


def test_the_ready_endpoints_of_a_service_are_replicas() -> None:
    api = ApiServer(token="t0ken")
    with listening(api):
        server = Server(api.url, "t0ken", 5)
        api.slices = [slice_of(("10.0.0.1", True), ("10.0.0.2", False)), slice_of(("10.0.0.3", None))]
        assert endpoints(server, "models/vllm", "http://vllm") == (
            "http://10.0.0.1:8000",
            "http://10.0.0.3:8000",
        )
        two = ({"port": 9000, "name": "metrics"}, {"port": 8080, "name": "http"})
        api.slices = [slice_of(("10.0.0.1", True), ports=two)]
        assert endpoints(server, "models/vllm", "https://vllm") == ("https://10.0.0.1:8080",)
        api.slices = [slice_of(("10.0.0.1", True), ports=two[:1] * 2)]
        with pytest.raises(HookFailed, match="has 2 ports"):
            endpoints(server, "models/vllm", "http://vllm")
        with pytest.raises(HookFailed) as caught:
            endpoints(Server(api.url, "wrong", 5), "models/vllm", "http://vllm")
        assert caught.value.advice == (
            "let kbsync's service account list endpointslices.discovery.k8s.io in models"
        )


def test_outside_a_cluster_there_are_no_endpoints(tmp_path: Path) -> None:
    with pytest.raises(HookFailed, match="service account cannot be read"):
        cluster(5, {}, tmp_path)
    (tmp_path / "token").write_text("t\n")
    with pytest.raises(HookFailed, match="KUBERNETES_SERVICE_HOST is not set"):
        cluster(5, {}, tmp_path)
    inside = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    assert cluster(5, inside, tmp_path).url == "https://[fd00::1]:6443"
