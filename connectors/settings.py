"""Settings that several kinds of source share, and errors that name the key.

A kind's settings are a pydantic model that forbids unknown keys: a mistyped one is an error, never
a silent default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic
from pydantic import ConfigDict, Field

from connectors.clock import SYSTEM_CLOCK, Clock
from connectors.errors import SourceSettingsError
from connectors.http.client import Limits, Requester, check_agent
from connectors.http.limits import PROCESS_LIMITERS, Budget, Limiters

_SECRET = {"password", "url"}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
Model = TypeVar("Model", bound=pydantic.BaseModel)


@dataclass(frozen=True, slots=True)
class Context:
    """What a connector is given besides its own settings."""

    directory: Path = field(default_factory=Path.cwd)
    """Relative paths in the settings start here."""
    default_relations: tuple[str, ...] = ()
    """Relations to watch where the settings name none."""
    clock: Clock = SYSTEM_CLOCK
    limiters: Limiters = PROCESS_LIMITERS


class SourceSettings(pydantic.BaseModel):
    """Base of every kind's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str


class HttpSettings(SourceSettings):
    """What every source that is asked over HTTP can be told."""

    agent: Annotated[str, pydantic.AfterValidator(check_agent)] = Field(
        description="Who asks, with an e-mail address or a URL: 'acme-sync/1.0 (mailto:data@example.org)'"
    )
    timeout_s: int = Field(30, ge=1, description="Longest silence on the socket, whole seconds")
    deadline_s: float = Field(75.0, gt=0, description="Longest time for one whole request")
    max_bytes: int = Field(64 * 2**20, ge=1024, description="Largest answer that is read")
    attempts: int = Field(5, ge=1, description="Tries of one request before the poll is given up")
    max_wait_s: float = Field(120.0, ge=0, description="Longest wait that is sat out for Retry-After")
    concurrent: int = Field(3, ge=1, le=3, description="Requests at once to one host")
    query_seconds_per_minute: float = Field(60.0, gt=0, description="Query time used in a minute, per host")
    errors_per_minute: int = Field(30, ge=1, description="Errors in a minute after which the host rests")

    def requester(self, url: str, context: Context, budget: Budget | None = None) -> Requester:
        """Polite access to the host of `url` under these settings."""
        own = Budget(self.concurrent, self.query_seconds_per_minute, self.errors_per_minute)
        limits = Limits(
            timeout_s=self.timeout_s,
            deadline_s=self.deadline_s,
            max_bytes=self.max_bytes,
            attempts=self.attempts,
            max_wait_s=self.max_wait_s,
            budget=budget or own,
        )
        return Requester(url, self.agent, limits, context.clock, context.limiters)


def parse(model: type[Model], name: str, settings: Mapping[str, Any]) -> Model:
    """The settings of source `name` as `model`.  Raises SourceSettingsError that names each wrong key."""
    try:
        return model.model_validate(dict(settings))
    except pydantic.ValidationError as error:
        wrong = "; ".join(_complaint(name, complaint) for complaint in error.errors())
        raise SourceSettingsError(wrong) from error


def _complaint(name: str, complaint: Any) -> str:
    key = ".".join(("sources", name, *(str(part) for part in complaint["loc"])))
    if complaint["type"] == "extra_forbidden":
        return f"{key}: there is no such setting for this kind of source"
    if complaint["type"] == "missing":
        return f"{key}: is required"
    shown = (
        "" if not complaint["loc"] or _SECRET & set(complaint["loc"]) else f" (got {complaint['input']!r})"
    )
    return f"{key}: {complaint['msg'].removeprefix('Value error, ')}{shown}"


def _duration(value: Any) -> Any:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return timedelta(**{_UNITS[match[2]]: float(match[1])}) if match else value


Duration = Annotated[timedelta, pydantic.BeforeValidator(_duration)]
"""Seconds, or text such as `90s`, `15m`, `24h`, `3d`."""
