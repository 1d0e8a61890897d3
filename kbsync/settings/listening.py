"""`[health]` and `[pages]`: what kbsync serves over HTTP, and to whom."""

from __future__ import annotations

import re
from datetime import timedelta
from ipaddress import ip_network

from pydantic import Field, field_validator, model_validator

from connectors.durations import PositiveDuration
from kbsync.settings.oidc import OidcSettings
from kbsync.settings.section import Address, Section
from state.records import Role


class HealthSettings(Section):
    """`/livez`, `/readyz` and `/metrics` of the daemon, see [metrics.md](metrics.md)."""

    listen: Address | None = Field(None, description="host:port to serve them on; unset: not served")
    stale: PositiveDuration = Field(
        timedelta(minutes=10),
        description="`/livez` reports a loop as dead after this time without a sign of life",
    )


class PagesSettings(Section):
    """The review pages of the daemon and of `kbsync serve`, see [pages.md](pages.md)."""

    listen: Address | None = Field(
        None,
        description="host:port on which `kbsync run` serves the pages as well; unset: only `kbsync serve` does",
    )
    hosts: tuple[str, ...] = Field(
        (), description="names under which the pages are reached, besides this machine's loopback names"
    )
    proxies: tuple[str, ...] = Field(
        (),
        description="addresses or networks of the reverse proxies that may name the user, such as 10.0.0.0/8",
    )
    proxy_header: str | None = Field(
        None, description="header in which those proxies name the signed-in user, such as X-Forwarded-User"
    )
    proxy_role: Role = Field(
        "viewer", description="role of users whom a proxy names: viewer, reviewer or operator"
    )
    oidc: OidcSettings | None = Field(None, description="an OpenID Connect provider, see `[pages.oidc]`")

    @field_validator("proxies")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            ip_network(one, strict=False)
        return value

    @field_validator("proxy_header")
    @classmethod
    def _is_a_header(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z0-9-]+", value):
            raise ValueError(f"{value!r} is not the name of a header")
        return value

    @model_validator(mode="after")
    def _come_together(self) -> PagesSettings:
        if (self.proxy_header is None) != (not self.proxies):
            raise ValueError("proxies and proxy_header are only of use together: set both or neither")
        return self
