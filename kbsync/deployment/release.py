"""How traffic moves to a version that was confirmed, where the hook decides that: a share of it first, if so set.

While a new version has a share, its answers to secret probes are looked at again and again; one wrong answer, or a
replica that does not answer, takes the share away again and the attempt has failed.
"""

from __future__ import annotations

import threading

import structlog

from kbsync.deployment.hooks import Hook, HookFailed, Routed, Version
from kbsync.deployment.patience import Patience
from kbsync.deployment.proof import DeploymentProof, ServesSomethingElse
from kbsync.settings.deploy import AnyHookSettings
from kbsync.settings.servers import ServerSettings

log = structlog.get_logger()

LOOKS = 5
"""How often a new version is asked while it has a share of the traffic."""
_MARGIN_S = 60.0


def released(
    hook: Hook, version: Version, proof: DeploymentProof, patience: Patience, settings: AnyHookSettings
) -> str:
    """Direct all traffic to `version`; returns what was done, to be added to what confirmed the version.

    Raises HookFailed, after traffic went back to where it was.  A hook that does not direct traffic does nothing.
    """
    if not isinstance(hook, Routed) or not isinstance(settings, ServerSettings):
        return ""
    timeout = settings.timeout.total_seconds()

    def waited(seconds: float) -> None:
        abandoned = threading.Event()
        patience.wait(lambda: abandoned.wait(seconds), seconds + _MARGIN_S, abandoned)

    if not patience.wait(lambda: hook.share(version), timeout, threading.Event()):
        patience.wait(lambda: hook.release(version), timeout, threading.Event())
        return ""
    log.info("deploy.canary", version=version.id, share=settings.canary)
    try:
        for _ in range(LOOKS):
            waited(settings.canary_for.total_seconds() / LOOKS)
            proof.watch()
    except HookFailed as error:
        patience.wait(lambda: hook.withdraw(version), timeout, threading.Event())
        what = f"with {settings.canary:.0%} of the traffic it failed, and lost it again: {error}"
        if isinstance(error, ServesSomethingElse):
            raise ServesSomethingElse(error.what, what) from error
        raise HookFailed(what, error.advice) from error
    patience.wait(lambda: hook.release(version), timeout, threading.Event())
    return f"; {LOOKS} checks passed while it had {settings.canary:.0%} of the traffic"


def tidy(hook: Hook, patience: Patience, settings: AnyHookSettings) -> None:
    """Unload what has had no traffic for long enough; raises HookFailed."""
    if isinstance(hook, Routed):
        patience.wait(hook.tidy, settings.timeout.total_seconds(), threading.Event())
