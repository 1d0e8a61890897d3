"""Creating a hook from a table of the settings."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from kbsync.deployment.hooks import Call, Hook
from kbsync.deployment.link import SymlinkHook
from kbsync.deployment.program import ProgramHook
from kbsync.settings.deploy import (
    AnyHookSettings,
    ExecSettings,
    SymlinkSettings,
    WebhookSettings,
)
from kbsync.settings.servers import ResolverSettings, SglangSettings, VllmSettings


def connect_hook(settings: AnyHookSettings, call: Call, now: Callable[[], datetime]) -> Hook:
    """The hook; its server is not contacted yet.  Raises BadConfiguration if its token is missing."""
    match settings:
        case SymlinkSettings():
            return SymlinkHook(settings)
        case ExecSettings():
            return ProgramHook(settings, call)
        case WebhookSettings():
            from kbsync.deployment.webhook import WebhookHook

            return WebhookHook(settings, call, now)
        case VllmSettings() | SglangSettings() | ResolverSettings():
            return _server_hook(settings, call, now)


def _server_hook(
    settings: VllmSettings | SglangSettings | ResolverSettings, call: Call, now: Callable[[], datetime]
) -> Hook:
    """The hook of an inference server, of all its replicas, or of adapters beside its base."""
    from kbsync.deployment.adapters import AdapterHook
    from kbsync.deployment.fleet import Fleet
    from kbsync.deployment.lora_servers import SglangLora, VllmLora
    from kbsync.deployment.resolver import ResolverHook
    from kbsync.deployment.sglang import SglangHook
    from kbsync.deployment.vllm import VllmHook

    if isinstance(settings, ResolverSettings):
        return ResolverHook(settings, call, now)
    if settings.adapters:
        kind = VllmLora if isinstance(settings, VllmSettings) else SglangLora
        return AdapterHook(settings, call, now, kind)

    def replica(url: str) -> Hook:
        one = settings.model_copy(update={"url": url})
        return VllmHook(one, call) if isinstance(one, VllmSettings) else SglangHook(one, call)

    return Fleet(settings, call, replica) if settings.many else replica(settings.url)
