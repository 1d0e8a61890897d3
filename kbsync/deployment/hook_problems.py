"""Checks of `config check` for `[deploy.NAME]`: valid settings of hooks that cannot work.  Contacts no server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kbsync.application import Application
from kbsync.deployment.served import LINK
from kbsync.errors import BadConfiguration
from kbsync.programs import missing
from kbsync.settings.deploy import AnyHookSettings, ExecSettings, SymlinkSettings, WebhookSettings


def hook_problems(hooks: Mapping[str, AnyHookSettings]) -> Iterator[tuple[str, BadConfiguration]]:
    """The place in the settings, and why it cannot work."""
    for name, settings in hooks.items():
        where = f"[deploy.{name}]"
        if name == LINK:
            yield where, BadConfiguration(f"`{LINK}` is the built-in link", "choose another name")
        try:
            settings.token()
        except BadConfiguration as error:
            yield where, error
        if isinstance(settings, ExecSettings):
            yield from _program_problems(where, settings)
        if isinstance(settings, SymlinkSettings) and not settings.path.parent.is_dir():
            missing = BadConfiguration(f"there is no directory {settings.path.parent}", "create it")
            yield f"{where} path", missing


def _program_problems(where: str, settings: ExecSettings) -> Iterator[tuple[str, BadConfiguration]]:
    for key in ("deploy", "rollback", "observe"):
        command = getattr(settings, key)
        if command and (error := missing(command)):
            yield f"{where} {key}", error


def unproven(app: Application) -> Iterator[str]:
    """Hooks whose servers are believed without any proof."""
    for name, settings in app.settings.deploy.items():
        if isinstance(settings, ExecSettings | WebhookSettings) and not settings.proves:
            yield (
                f"[deploy.{name}]: the name of its version is all that is asked, and the server may repeat what it "
                "was given; `completions` or `checksums` would prove what it serves"
            )
