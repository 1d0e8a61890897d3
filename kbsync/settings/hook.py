"""What the settings of every deploy hook have: limits, canary facts, secret probes, and where its token is.

Secrets are never in the settings file: `token_env` names an environment variable, and `token_file` a file,
such as one provided by systemd's LoadCredential= or a mounted Kubernetes secret.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AnyHttpUrl, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from connectors.durations import Duration, PositiveDuration
from kbsync.errors import BadConfiguration

_HTTP = TypeAdapter(AnyHttpUrl)


def _checked_url(value: str) -> str:
    """The URL without a trailing slash; raises pydantic's error if it is not an http(s) URL."""
    url = _HTTP.validate_python(value)
    if url.username or url.password:
        raise ValueError("a password must not be part of a URL: use token_env or token_file")
    return value.rstrip("/")


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("give an absolute path: a daemon's working directory is arbitrary")
    return path


Url = Annotated[str, AfterValidator(_checked_url)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


def check_secret(key: str, variable: str | None, file: Path | None) -> None:
    """Raise ValueError if `<key>_env` and `<key>_file` are both set, or if the variable's name is reserved."""
    if variable and file:
        raise ValueError(f"give {key}_env or {key}_file, not both")
    if variable and variable.startswith("KBSYNC_"):
        raise ValueError(f"{key}_env: variables that start with KBSYNC_ are settings; choose another name")


def read_secret(
    variable: str | None, file: Path | None, environment: Mapping[str, str] | None = None
) -> str | None:
    """The secret in the variable or the file, or None if neither is named.

    Raises BadConfiguration if the secret is missing or cannot be sent in a header.
    """
    if variable is not None:
        found = (os.environ if environment is None else environment).get(variable, "")
        where = f"the environment variable {variable}"
    elif file is not None:
        where = str(file)
        try:
            found = file.read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BadConfiguration(f"the token in {where} cannot be read: {error}") from error
    else:
        return None
    if not found:
        raise BadConfiguration(f"{where} contains no token", "set it, or remove the key that names it")
    if not (found.isascii() and found.isprintable()):
        raise BadConfiguration(
            f"{where} contains no token: it has characters that no header can carry", "is it the right file?"
        )
    return found


class HookSettings(BaseModel):
    """Settings of every kind of hook."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout: PositiveDuration = Field(
        timedelta(minutes=10),
        description="maximum duration of one notification, including the time to load the model",
    )
    settle: Duration = Field(
        timedelta(seconds=10), description="how long the server may take until it reports the new version"
    )
    attempts: int = Field(5, ge=1, description="attempts before the deployment counts as permanently failed")
    backoff: Duration = Field(
        timedelta(seconds=30),
        description="wait after the first failure; doubled after each further one, up to 1h",
    )
    on_failure: Literal["keep", "rollback"] = Field(
        "keep",
        description="after a permanent failure: keep the promotion, or roll back to the previous checkpoint",
    )
    paths: dict[str, str] = Field(
        {}, description="path prefixes on this machine, mapped to the server's names for them"
    )
    completions: Url | None = Field(
        None,
        description="base URL, without /v1, of the OpenAI-compatible server that is asked the canary facts",
    )
    served_model: str | None = Field(
        None, description="`model` of these requests; unset: the first model that the server lists"
    )
    canaries: int = Field(5, ge=0, description="number of newly edited facts to ask after a deploy")
    canaries_file: bool = Field(True, description="whether to ask the questions of `canaries` too")
    canaries_share: float = Field(
        0.8, gt=0, le=1, description="share of the questions that must be answered correctly"
    )
    probes: int = Field(
        8, ge=0, description="number of secret probes to ask in each check of the server, if it can be asked"
    )
    probe_repeats: int = Field(
        3, ge=1, description="how often each is asked after a deploy, so that replicas that differ are found"
    )
    precision: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto",
        description="dtype in which the server computes, which says how exact its log-probabilities are; `auto`: as "
        "they show",
    )
    checksums: Url | None = Field(
        None,
        description="URL that answers a GET with the SHA-256 of every tensor that is loaded, as JSON: {name: digest}",
    )
    token_env: str | None = Field(None, description="environment variable that holds the server's token")
    token_file: AbsolutePath | None = Field(None, description="file that holds the server's token")

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        check_secret("token", self.token_env, self.token_file)
        for prefix in self.paths:
            if not Path(prefix).is_absolute():
                raise ValueError(f"paths: {prefix!r} is not an absolute path")
        return self

    def _with_evidence(self, observes: bool, key: str) -> Self:
        if not observes and not self.proves:
            raise ValueError(
                f"nothing could be observed of this server: give {key}, or `completions` with canaries"
            )
        return self

    def _with_proof(self) -> Self:
        if not self.proves:
            raise ValueError(
                "its version's name is the one that it was given, which proves nothing: set `probes` or `canaries` "
                "above 0, or give `checksums`"
            )
        return self

    @property
    def proves(self) -> bool:
        """Whether anything besides a version's name is asked of the server."""
        asked = self.asks is not None and (self.canaries > 0 or self.probes > 0)
        return asked or self.checksums is not None

    @property
    def asks(self) -> str | None:
        """Base URL of the server that is asked questions; None: no server can be asked."""
        return self.completions

    def token(self, environment: Mapping[str, str] | None = None) -> str | None:
        """The secret, read each time it is needed; raises BadConfiguration if it is missing."""
        return read_secret(self.token_env, self.token_file, environment)

    def bearer(self) -> str | None:
        """The token for requests that ask the server something; raises like `token`."""
        return self.token()
