"""`[deploy.NAME]`: one typed table for each hook; `kind` selects its type.

Secrets are never in the file: `token_env` names an environment variable, `token_file` a file such as
systemd's LoadCredential= or a mounted Kubernetes secret gives.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AnyHttpUrl, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from connectors.durations import Duration, PositiveDuration
from kbsync.errors import BadConfiguration

_HTTP = TypeAdapter(AnyHttpUrl)
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
PLACEHOLDERS = frozenset({"version", "path", "digest"})
"""What a program's arguments may name in braces."""
PROGRAM_VARIABLES = frozenset(f"KBSYNC_{name}" for name in ("ACTION", "VERSION", "PATH", "DIGEST", "TOKEN"))
"""What a program finds in its environment; one that calls `kbsync` passes them on."""


def _checked_url(value: str) -> str:
    """Without its last slash; pydantic's message where it is no http(s) URL."""
    url = _HTTP.validate_python(value)
    if url.username or url.password:
        raise ValueError("a password does not belong into a URL: use token_env or token_file")
    return value.rstrip("/")


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("give an absolute path: a daemon's working directory is anything")
    return path


Url = Annotated[str, AfterValidator(_checked_url)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


def check_secret(key: str, variable: str | None, file: Path | None) -> None:
    """Raises ValueError where `<key>_env` and `<key>_file` cannot both be right."""
    if variable and file:
        raise ValueError(f"give {key}_env or {key}_file, not both")
    if variable and variable.startswith("KBSYNC_"):
        raise ValueError(f"{key}_env: variables that start with KBSYNC_ are settings; choose another name")


def read_secret(
    variable: str | None, file: Path | None, environment: Mapping[str, str] | None = None
) -> str | None:
    """The secret that a variable or a file holds, None where neither is named.

    Raises BadConfiguration where it is not there or cannot be sent in a header.
    """
    if variable is not None:
        found = (os.environ if environment is None else environment).get(variable, "")
        where = f"the environment variable {variable}"
    elif file is not None:
        where = str(file)
        try:
            found = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BadConfiguration(f"the token in {where} cannot be read: {error}") from error
    else:
        return None
    if not found:
        raise BadConfiguration(f"{where} holds no token", "set it, or remove the key that names it")
    if not (found.isascii() and found.isprintable()):
        raise BadConfiguration(
            f"{where} holds no token: it has characters that no header can carry", "is it the right file?"
        )
    return found


class HookSettings(BaseModel):
    """What every kind has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout: PositiveDuration = Field(
        timedelta(minutes=10),
        description="longest time that one notification may take, loading included",
    )
    settle: Duration = Field(
        timedelta(seconds=10), description="how long the server may take until it names the new version"
    )
    attempts: int = Field(5, ge=1, description="attempts before the deployment counts as failed for good")
    backoff: Duration = Field(
        timedelta(seconds=30), description="wait after the first failure; doubled each time, at most 1h"
    )
    on_failure: Literal["keep", "rollback"] = Field(
        "keep", description="failed for good: keep the promotion, or go back to the checkpoint before"
    )
    paths: dict[str, str] = Field(
        {}, description="path prefixes of this machine and what the server calls them"
    )
    completions: Url | None = Field(
        None, description="OpenAI-compatible server the canary facts are asked of (its base URL, without /v1)"
    )
    served_model: str | None = Field(
        None, description="`model` of these requests; unset: the first that the server lists"
    )
    canaries: int = Field(5, ge=0, description="newly edited facts that are asked after a deploy")
    canaries_file: bool = Field(True, description="whether the questions of `canaries` are asked too")
    canaries_share: float = Field(0.8, gt=0, le=1, description="share that must be answered")
    token_env: str | None = Field(None, description="environment variable that holds the server's token")
    token_file: AbsolutePath | None = Field(None, description="file that holds it")

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        check_secret("token", self.token_env, self.token_file)
        for prefix in self.paths:
            if not Path(prefix).is_absolute():
                raise ValueError(f"paths: {prefix!r} is no absolute path")
        return self

    def _with_evidence(self, observes: bool, key: str) -> Self:
        if not observes and (self.completions is None or self.canaries == 0):
            raise ValueError(
                f"nothing would ever be seen of this server: give {key}, or `completions` with canaries"
            )
        return self

    @property
    def asks(self) -> str | None:
        """Base URL of the server the canary facts are asked of; None: nobody can be asked."""
        return self.completions

    def token(self, environment: Mapping[str, str] | None = None) -> str | None:
        """The secret, read when it is needed; raises BadConfiguration where it is not there."""
        return read_secret(self.token_env, self.token_file, environment)


class SymlinkSettings(HookSettings):
    """A symbolic link somewhere else than in the home."""

    kind: Literal["symlink"]
    path: AbsolutePath = Field(description="the link; what it is now is replaced by rename")


class ExecSettings(HookSettings):
    """A program of one's own, started without a shell."""

    kind: Literal["exec"]
    deploy: tuple[str, ...] = Field(
        min_length=1, description="program and arguments; {version}, {path} and {digest} are filled in"
    )
    rollback: tuple[str, ...] = Field(
        (), description="the same for going back to a version served before; none: `deploy`"
    )
    observe: tuple[str, ...] = Field((), description="prints the version that is served, and nothing else")
    environment: tuple[str, ...] = Field(
        (),
        description="further variables of the daemon's environment that the program sees; without it only the "
        "basic ones (PATH, HOME, LANG, TZ, TMPDIR, …)",
    )

    @model_validator(mode="after")
    def _observable(self) -> Self:
        for argument in (*self.deploy, *self.rollback, *self.observe):
            if unknown := sorted(set(_PLACEHOLDER.findall(argument)) - PLACEHOLDERS):
                raise ValueError(f"{{{unknown[0]}}} is none of {', '.join(sorted(PLACEHOLDERS))}")
        return self._with_evidence(bool(self.observe), "`observe`")


class WebhookSettings(HookSettings):
    """An HTTP service of your own, notified by a signed POST."""

    kind: Literal["webhook"]
    url: Url = Field(description="where the POST goes")
    observe_url: Url | None = Field(
        None, description="a signed GET answers with the version: text, a JSON string, or JSON {version}"
    )
    observe_token_env: str | None = Field(
        None,
        description="environment variable that holds a bearer token for `observe_url`, where it wants one",
    )
    observe_token_file: AbsolutePath | None = Field(None, description="file that holds it")

    def observe_token(self, environment: Mapping[str, str] | None = None) -> str | None:
        """The bearer token of `observe_url`, never the signing key; raises as `token` does."""
        return read_secret(self.observe_token_env, self.observe_token_file, environment)

    @model_validator(mode="after")
    def _observable(self) -> Self:
        if not self.token_env and not self.token_file:
            raise ValueError("a webhook is signed: give token_env or token_file")
        check_secret("observe_token", self.observe_token_env, self.observe_token_file)
        if self.observe_token_env and self.observe_token_env == self.token_env:
            raise ValueError("observe_token_env: the signing key is never sent; give another token")
        if self.observe_token_file and self.observe_token_file == self.token_file:
            raise ValueError("observe_token_file: the signing key is never sent; give another token")
        return self._with_evidence(self.observe_url is not None, "`observe_url`")


class VllmSettings(HookSettings):
    """A vLLM server in its developer mode (VLLM_SERVER_DEV_MODE=1), reached over a trusted network."""

    kind: Literal["vllm"]
    url: Url = Field(description="base URL of the server")
    drain: Literal["wait", "abort"] = Field(
        "wait", description="what becomes of requests at work: finished first, or cut off"
    )

    @property
    def asks(self) -> str | None:
        return self.completions or self.url


class SglangSettings(HookSettings):
    """An SGLang server."""

    kind: Literal["sglang"]
    url: Url = Field(description="base URL of the server")
    abort_requests: bool = Field(False, description="cut off requests at work instead of waiting for them")

    @property
    def asks(self) -> str | None:
        return self.completions or self.url


AnyHookSettings = Annotated[
    SymlinkSettings | ExecSettings | WebhookSettings | VllmSettings | SglangSettings,
    Field(discriminator="kind"),
]
KINDS: tuple[type[HookSettings], ...] = (
    SymlinkSettings,
    ExecSettings,
    WebhookSettings,
    VllmSettings,
    SglangSettings,
)
