"""Checks of `config check` for `[deploy.NAME]`: valid settings of hooks that cannot work.  Contacts no server."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from editing.preflight import exactness
from editing.settings import EditSettings
from kbsync.application import Application
from kbsync.deployment.served import LINK
from kbsync.errors import BadConfiguration
from kbsync.programs import missing
from kbsync.settings.deploy import AnyHookSettings, ExecSettings, SymlinkSettings, WebhookSettings
from kbsync.settings.sections import ADAPTER
from kbsync.settings.servers import ResolverSettings, ServerSettings


def hook_problems(
    hooks: Mapping[str, AnyHookSettings], forms: Collection[str] = (ADAPTER,)
) -> Iterator[tuple[str, BadConfiguration]]:
    """The place in the settings, and why it cannot work; `forms`: those in which candidates are written."""
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
        if isinstance(settings, ServerSettings):
            yield from _adapter_problems(where, settings, forms)
        if isinstance(settings, SymlinkSettings) and not settings.path.parent.is_dir():
            missing = BadConfiguration(f"there is no directory {settings.path.parent}", "create it")
            yield f"{where} path", missing


def _adapter_problems(
    where: str, settings: ServerSettings, forms: Collection[str]
) -> Iterator[tuple[str, BadConfiguration]]:
    if settings.adapters and ADAPTER not in forms:
        yield (
            where,
            BadConfiguration(
                "it loads adapters, and candidates are written without one",
                'set [deliver] as = ["checkpoint", "adapter"]',
            ),
        )
    folders = {"routes": settings.routes and settings.routes.parent}
    if isinstance(settings, ResolverSettings):
        folders["path"] = settings.path
    for key, folder in folders.items():
        if folder is not None and not folder.is_dir():
            yield f"{where} {key}", BadConfiguration(f"there is no directory {folder}", "create it")


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


def inexact(app: Application) -> Iterator[str]:
    """That an adapter cannot hold as many facts as a view may have."""
    deliver, edit, capacity = app.settings.deliver, app.settings.edit, app.settings.plan.capacity
    if ADAPTER not in deliver.forms:
        return
    defaults = EditSettings()
    keys, prefixes = edit.keys or defaults.keys, defaults.prefixes if edit.prefixes is None else edit.prefixes
    each = prefixes + 1 if keys == "all" and len(edit.layers or (0, 1)) > 1 else 1
    if capacity * each > deliver.max_rank:
        yield f"[deliver] max_rank: an adapter's {exactness(capacity, each, deliver.max_rank)}"
