"""`[deploy.NAME]`: one table for each hook, whose `kind` selects its type.

`hook.py` has what every kind has, `servers.py` the kinds for inference servers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kbsync.programs import check_placeholders
from kbsync.settings.hook import AbsolutePath, HookSettings, Url, check_secret, read_secret
from kbsync.settings.servers import ResolverSettings, SglangSettings, VllmSettings

PLACEHOLDERS = frozenset({"version", "path", "digest"})
"""Placeholders in braces that a program's arguments may contain."""
PROGRAM_VARIABLES = frozenset(f"KBSYNC_{name}" for name in ("ACTION", "VERSION", "PATH", "DIGEST", "TOKEN"))
"""Variables set in a program's environment; a program that runs `kbsync` passes them on to it."""


class SymlinkSettings(HookSettings):
    """A symbolic link outside the home."""

    kind: Literal["symlink"]
    path: AbsolutePath = Field(description="path of the link, which is replaced atomically by a rename")


class ExecSettings(HookSettings):
    """Your own program, started without a shell."""

    kind: Literal["exec"]
    deploy: tuple[str, ...] = Field(
        min_length=1, description="program and arguments; {version}, {path} and {digest} are filled in"
    )
    rollback: tuple[str, ...] = Field(
        (), description="program and arguments for a rollback to an earlier version; none: `deploy`"
    )
    observe: tuple[str, ...] = Field(
        (), description="program and arguments; it prints the served version and nothing else"
    )
    environment: tuple[str, ...] = Field(
        (),
        description="further variables of the daemon's environment that are passed to the program, besides the "
        "basic ones (PATH, HOME, LANG, TZ, TMPDIR, …)",
    )

    @model_validator(mode="after")
    def _observable(self) -> Self:
        check_placeholders((*self.deploy, *self.rollback, *self.observe), PLACEHOLDERS)
        return self._with_evidence(bool(self.observe), "`observe`")


class WebhookSettings(HookSettings):
    """An HTTP service of your own, notified by a signed POST."""

    kind: Literal["webhook"]
    url: Url = Field(description="URL to which the POST is sent")
    observe_url: Url | None = Field(
        None,
        description="URL that answers a signed GET with the version: text, a JSON string, or JSON {version}",
    )
    observe_token_env: str | None = Field(
        None,
        description="environment variable that holds a bearer token for `observe_url`, `completions` and `checksums`, "
        "if they require one",
    )
    observe_token_file: AbsolutePath | None = Field(None, description="file that holds this bearer token")

    def observe_token(self, environment: Mapping[str, str] | None = None) -> str | None:
        """The bearer token for `observe_url`, never the signing key; raises like `token`."""
        return read_secret(self.observe_token_env, self.observe_token_file, environment)

    def bearer(self) -> str | None:
        return self.observe_token()

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


AnyHookSettings = Annotated[
    SymlinkSettings | ExecSettings | WebhookSettings | VllmSettings | SglangSettings | ResolverSettings,
    Field(discriminator="kind"),
]
KINDS: tuple[type[HookSettings], ...] = (
    SymlinkSettings,
    ExecSettings,
    WebhookSettings,
    VllmSettings,
    SglangSettings,
    ResolverSettings,
)
