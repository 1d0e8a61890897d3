"""`[pages.oidc]`: signing in to the review pages through an OpenID Connect provider."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from connectors.durations import PositiveDuration
from kbsync.settings.hook import AbsolutePath, check_secret, read_secret
from kbsync.settings.section import Section
from state.records import Role

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def _checked(value: str) -> str:
    """The address without a trailing slash; plain HTTP is for this machine only."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{value!r} is not an address such as https://login.example.org")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("an address has no user, query or fragment here")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError("use https: over plain HTTP anybody on the way could sign in as anybody")
    return value.rstrip("/")


def _checked_origin(value: str) -> str:
    checked = _checked(value)
    if urlsplit(checked).path:
        raise ValueError("the pages are served at the root of their host: leave the path out")
    return checked


HttpsUrl = Annotated[str, AfterValidator(_checked)]


class OidcSettings(Section):
    """Sign visitors in through an OpenID Connect provider (needs the extra `oidc`), see [pages.md](pages.md)."""

    issuer: HttpsUrl = Field(
        description="the provider's issuer, such as https://login.example.org/realms/main"
    )
    client_id: str = Field(min_length=1, description="the name under which kbsync is registered there")
    client_secret_env: str | None = Field(
        None, description="environment variable that holds the client's secret"
    )
    client_secret_file: AbsolutePath | None = Field(
        None, description="file that holds the client's secret; unset, like the variable: a public client"
    )
    address: Annotated[str, AfterValidator(_checked_origin)] = Field(
        description="the address of the pages in browsers, such as https://kbsync.example.org; register "
        "`/sign-in/oidc/callback` under it as the redirect address"
    )
    scopes: tuple[str, ...] = Field(
        ("openid", "profile", "email"), description="what the provider is asked for"
    )
    name_claim: str = Field(
        "email", min_length=1, description="claim that names the user, the actor of their decisions"
    )
    role_claim: str = Field(
        "groups", min_length=1, description="claim that lists the user's groups; dots lead into nested claims"
    )
    roles: dict[str, Role] = Field(
        {}, description="group of the provider = role (viewer, reviewer or operator); the highest counts"
    )
    default_role: Role | None = Field(
        None, description="role of users who are in none of these groups; unset: they are refused"
    )
    session: PositiveDuration = Field(timedelta(hours=8), description="how long a visitor stays signed in")

    @model_validator(mode="after")
    def _can_sign_somebody_in(self) -> OidcSettings:
        check_secret("client_secret", self.client_secret_env, self.client_secret_file)
        if "openid" not in self.scopes:
            raise ValueError("scopes: `openid` is required by OpenID Connect")
        if not self.roles and self.default_role is None:
            raise ValueError("nobody could sign in: give `roles` or `default_role`")
        return self

    def client_secret(self) -> str | None:
        """The client's secret; raises BadConfiguration if it is missing."""
        return read_secret(self.client_secret_env, self.client_secret_file)

    @property
    def redirect_address(self) -> str:
        """Where the provider sends the browser back to."""
        return f"{self.address}/sign-in/oidc/callback"

    @property
    def secure(self) -> bool:
        """Whether browsers reach the pages over HTTPS."""
        return self.address.startswith("https:")
