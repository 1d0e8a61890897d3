"""Settings that several kinds of source share, and errors that name the key.

A kind's settings are a pydantic model that forbids unknown keys, so that a mistyped key is an error
and not silently ignored.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import httpx
import pydantic
from pydantic import ConfigDict, Field

from connectors.border import shown
from connectors.clock import SYSTEM_CLOCK, Clock
from connectors.errors import SourceSettingsError
from connectors.guesses import did_you_mean
from connectors.http.client import Requester, RequestLimits, check_agent
from connectors.http.limits import PROCESS_LIMITERS, Budget, Limiters
from connectors.http.sparql_client import Credentials
from connectors.licences import Licence

_SECRET = re.compile(r"password|secret|token", re.IGNORECASE)
_USERINFO = re.compile(r"(://[^/?#\s:@]*):[^/?#\s]*@")
Model = TypeVar("Model", bound=pydantic.BaseModel)


@dataclass(frozen=True, slots=True)
class Context:
    """What a connector receives besides its own settings."""

    directory: Path = field(default_factory=Path.cwd)
    """Relative paths in the settings start here."""
    default_relations: tuple[str, ...] = ()
    """Relations to watch if the settings name none."""
    clock: Clock = SYSTEM_CLOCK
    limiters: Limiters = PROCESS_LIMITERS


class SourceSettings(pydantic.BaseModel):
    """Base of every kind's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    licence: Licence | None = Field(
        None,
        description="Licence of what the source states, as an SPDX expression; Wikidata's own is CC0-1.0",
    )


def _http_url(url: str) -> str:
    """Return the URL if it is a valid http or https URL without a user name or password."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
        parsed = httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as error:
        raise ValueError(f"is not a URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not host:
        raise ValueError("is not an http or https URL with a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "contains a user name or a password, and URLs are logged: use the settings `user` and `password`"
        )
    return url


HttpUrl = Annotated[str, pydantic.AfterValidator(_http_url)]
"""An http or https URL without userinfo (RFC 3986, section 3.2.1)."""


class HttpSettings(SourceSettings):
    """Settings of every source that is read over HTTP."""

    agent: Annotated[str, pydantic.AfterValidator(check_agent)] = Field(
        description="User-Agent with an e-mail address or a URL: 'acme-sync/1.0 (mailto:data@example.org)'"
    )
    timeout_s: int = Field(30, ge=1, description="Socket timeout, in whole seconds")
    deadline_s: float = Field(75.0, gt=0, description="Maximum time for one whole request")
    step_deadline_s: float = Field(
        540.0,
        gt=0,
        description="Maximum time for one step of a poll, with all its requests, retries and waits",
    )
    max_bytes: int = Field(16 * 2**20, ge=1024, description="Maximum size of a response, after decompression")
    attempts: int = Field(5, ge=1, description="Attempts at one request before the poll fails")
    max_wait_s: float = Field(120.0, ge=0, description="Longest Retry-After that is waited out")
    concurrent: int = Field(3, ge=1, le=3, description="Concurrent requests to one host")
    query_seconds_per_minute: float = Field(60.0, gt=0, description="Query time per minute, per host")
    errors_per_minute: int = Field(30, ge=1, description="Errors per minute after which requests pause")

    def requester(self, url: str, context: Context, budget: Budget | None = None) -> Requester:
        """A rate-limited requester for the host of `url` with these settings."""
        own = Budget(self.concurrent, self.query_seconds_per_minute, self.errors_per_minute)
        limits = RequestLimits(
            timeout_s=self.timeout_s,
            deadline_s=self.deadline_s,
            max_bytes=self.max_bytes,
            attempts=self.attempts,
            max_wait_s=self.max_wait_s,
            budget=budget or own,
        )
        return Requester(url, self.agent, limits, context.clock, context.limiters)


class SparqlAccess(pydantic.BaseModel):
    """A SPARQL endpoint and its credentials."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: HttpUrl = Field(
        description="SPARQL 1.1 query endpoint, such as https://query.wikidata.org/sparql"
    )
    user: str | None = Field(None, description="User name for HTTP basic authentication")
    password: pydantic.SecretStr | None = Field(None, description="Password of `user`")

    @pydantic.model_validator(mode="after")
    def _user_and_password(self) -> SparqlAccess:
        if (self.user is None) != (self.password is None):
            raise ValueError("`user` and `password` go together")
        return self

    @property
    def credentials(self) -> Credentials | None:
        return Credentials(self.user, self.password) if self.user and self.password else None


def parse(model: type[Model], name: str, settings: Mapping[str, Any]) -> Model:
    """Parse the settings of source `name` as `model`.  Raises SourceSettingsError naming each wrong key."""
    try:
        return model.model_validate(dict(settings))
    except pydantic.ValidationError as error:
        wrong = "; ".join(_complaint(name, complaint, model) for complaint in error.errors())
        raise SourceSettingsError(wrong) from error


def _complaint(name: str, complaint: Any, model: type[pydantic.BaseModel]) -> str:
    key = ".".join(("sources", name, *(str(part) for part in complaint["loc"])))
    if complaint["type"] == "extra_forbidden":
        known = model.model_fields if len(complaint["loc"]) == 1 else ()
        guess = did_you_mean(str(complaint["loc"][-1]), known)
        return f"{key}: there is no such setting for this kind of source; {guess}".rstrip("; ")
    if complaint["type"] == "missing":
        return f"{key}: is required"
    given = complaint["input"]
    hidden = not complaint["loc"] or any(_SECRET.search(str(part)) for part in complaint["loc"])
    got = "" if hidden or complaint["loc"][0] == "url" else f" (got {shown(_masked(given), 200)})"
    return f"{key}: {complaint['msg'].removeprefix('Value error, ')}{got}"


def _masked(value: Any) -> Any:
    return _USERINFO.sub(r"\1:***@", value) if isinstance(value, str) else value
