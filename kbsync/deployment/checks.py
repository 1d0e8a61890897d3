"""What `config check` looks at in `[deploy.NAME]`: well-formed hooks that cannot work.  Asks no server."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from kbsync.deployment.served import LINK
from kbsync.errors import BadConfiguration
from kbsync.settings.deploy import AnyHookSettings, ExecSettings, SymlinkSettings


def check_hooks(hooks: Mapping[str, AnyHookSettings]) -> str:
    """What was found; raises BadConfiguration at the first hook that cannot work."""
    for name, settings in hooks.items():
        where = f"[deploy.{name}]"
        if name == LINK:
            raise BadConfiguration(f"{where}: `{LINK}` is the built-in link", "choose another name")
        try:
            settings.token()
        except BadConfiguration as error:
            raise BadConfiguration(f"{where}: {error}", error.advice) from error
        if isinstance(settings, ExecSettings):
            _check_programs(where, settings)
        if isinstance(settings, SymlinkSettings) and not settings.path.parent.is_dir():
            raise BadConfiguration(f"{where} path: there is no directory {settings.path.parent}", "create it")
    return ", ".join(f"{name} ({settings.kind})" for name, settings in hooks.items()) or "none"


def _check_programs(where: str, settings: ExecSettings) -> None:
    for key in ("deploy", "rollback", "observe"):
        command = getattr(settings, key)
        if command and shutil.which(command[0]) is None:
            raise BadConfiguration(
                f"{where} {key}: there is no program {command[0]}, or it may not be executed",
                "give its absolute path, and make it executable",
            )
