"""The kinds of hooks for inference servers: vLLM, SGLang, and the directory from which vLLM resolves adapters.

A server may have replicas, each of which is notified and asked itself; and it may serve the base with an adapter
instead of a checkpoint, under a name for each version, to which a routing table directs the clients' one name.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, model_validator

from connectors.durations import Duration
from kbsync.settings.hook import AbsolutePath, HookSettings, Url

Form = Literal["checkpoint", "adapter"]


class ServerSettings(HookSettings):
    """Settings of every inference server."""

    url: Url = Field(description="base URL of the server, or of the service in front of its replicas")
    replicas: tuple[Url, ...] = Field(
        (), description="base URLs of all replicas: each is notified and asked itself"
    )
    discover: Literal["none", "dns", "kubernetes"] = Field(
        "none",
        description="how replicas are found instead: every address that the host of `url` resolves to (a headless "
        "service, for one), or the ready endpoints of a Kubernetes `service`",
    )
    service: str | None = Field(
        None,
        pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?/[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        description="namespace/name of the Kubernetes service whose endpoints are the replicas",
    )
    routes: AbsolutePath | None = Field(
        None, description="file of the routing table, written for the gateway; required for adapters"
    )
    alias: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]+$",
        description="name by which clients ask, and with which adapters' names begin; unset: that of the home's "
        "directory",
    )
    drain_for: Duration = Field(
        timedelta(minutes=5),
        description="how long an adapter stays loaded after the routing table directs nobody to it any more",
    )
    canary: float = Field(
        0.0, ge=0, lt=1, description="share of the traffic that a new adapter gets first; 0: all at once"
    )
    canary_for: Duration = Field(
        timedelta(minutes=10),
        description="how long it has that share: if a secret probe is answered wrongly meanwhile, it loses it again",
    )

    @property
    def adapters(self) -> bool:
        """Whether the server has the base and loads adapters."""
        return False

    @property
    def many(self) -> bool:
        """Whether the server has replicas that are known one by one."""
        return bool(self.replicas) or self.discover != "none"

    @property
    def asks(self) -> str | None:
        return self.completions or self.url

    @model_validator(mode="after")
    def _provable(self) -> Self:
        return self._with_proof()

    @model_validator(mode="after")
    def _replicas_in_one_way(self) -> Self:
        if self.replicas and self.discover != "none":
            raise ValueError("give replicas or discover, not both")
        if (self.discover == "kubernetes") != (self.service is not None):
            raise ValueError('`service` and `discover = "kubernetes"` need each other')
        if self.completions and (self.many or self.adapters):
            raise ValueError("every replica, and every adapter, is asked itself: leave out `completions`")
        return self

    @model_validator(mode="after")
    def _routed(self) -> Self:
        if self.adapters and self.routes is None:
            raise ValueError(
                "an adapter has another name in every version: give `routes`, a file from which the gateway knows "
                "which one clients get"
            )
        if not self.adapters and (self.canary or self.routes or self.alias):
            raise ValueError('canary, routes and alias are those of adapters: set form = "adapter"')
        if self.adapters and self.served_model:
            raise ValueError("an adapter is asked under its own name: leave out `served_model`")
        return self


class VllmSettings(ServerSettings):
    """A vLLM server, reached over a trusted network: in its developer mode (VLLM_SERVER_DEV_MODE=1) for checkpoints,
    with VLLM_ALLOW_RUNTIME_LORA_UPDATING=true for adapters."""

    kind: Literal["vllm"]
    form: Form = Field(
        "checkpoint", description="what it loads: a checkpoint in place, or an adapter beside the last one"
    )
    drain: Literal["wait", "abort"] = Field(
        "wait",
        description="what happens to running requests of a checkpoint: finish them first, or abort them",
    )

    @property
    def adapters(self) -> bool:
        return self.form == "adapter"


class SglangSettings(ServerSettings):
    """An SGLang server; for adapters started with --enable-lora."""

    kind: Literal["sglang"]
    form: Form = Field(
        "checkpoint", description="what it loads: a checkpoint in place, or an adapter beside the last one"
    )
    abort_requests: bool = Field(
        False, description="abort running requests of a checkpoint instead of waiting for them"
    )

    @property
    def adapters(self) -> bool:
        return self.form == "adapter"


class ResolverSettings(ServerSettings):
    """The directory from which vLLM's `lora_filesystem_resolver` loads an adapter when it is first asked for."""

    kind: Literal["resolver"]
    path: AbsolutePath = Field(description="the directory, VLLM_LORA_RESOLVER_CACHE_DIR of the servers")
    base_model: str = Field(
        min_length=1,
        description="what the servers were started with as `--model`: adapters are of that model",
    )

    @property
    def adapters(self) -> bool:
        return True
