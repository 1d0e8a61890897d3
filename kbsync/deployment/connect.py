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
    SglangSettings,
    SymlinkSettings,
    VllmSettings,
    WebhookSettings,
)


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
        case VllmSettings():
            from kbsync.deployment.vllm import VllmHook

            return VllmHook(settings, call)
        case SglangSettings():
            from kbsync.deployment.sglang import SglangHook

            return SglangHook(settings, call)
