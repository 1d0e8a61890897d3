"""vLLM: weights reloaded in place while generation is paused.

The requests are those of its developer mode (VLLM_SERVER_DEV_MODE=1), as documented in "Async
Reinforcement Learning", "Weight Transfer" and the routers `entrypoints/rl/online` and
`entrypoints/serve`:

    POST /pause?mode=wait
    POST /update_weight_version {"new_version": "loading …"}
    POST /collective_rpc {"method": "reload_weights", "kwargs": {"weights_path": …}}
    POST /reset_prefix_cache?reset_running_requests=true
    POST /update_weight_version {"new_version": …}
    POST /resume

A reload alone keeps prefix caches of the old weights.  The name `loading …` stands first, so that a
reload that was cut off never leaves the old name on new weights.  Servers from before the weight
version (404 on `/weight_info`) are believed only by their canary facts.  After a failed reload the
server stays paused until some version is whole on it: half-loaded weights answer nobody.
"""

from __future__ import annotations

import httpx

from kbsync.deployment.hooks import Call, HookFailed, LoadFailed, ServerUnreachable, Version, mapped
from kbsync.deployment.http import Server, object_of, require_ok, said
from kbsync.settings.deploy import VllmSettings

_MISSING = (404, 405)
"""What a server answers for a request that its version does not have."""


class NotInDeveloperMode(HookFailed):
    """The server has no such requests: nothing was changed on it."""


class VllmHook:
    def __init__(self, settings: VllmSettings, call: Call) -> None:
        self.settings = settings
        self.server = Server(settings.url, settings.token(), call.timeout_s)

    def deploy(self, version: Version) -> None:
        path = mapped(version.path, self.settings.paths)
        try:
            self._pause()
            self._name(f"loading {version.id}")
            reload = {"method": "reload_weights", "kwargs": {"weights_path": path}}
            require_ok(self.server.post("/collective_rpc", json=reload))
            self._reset_caches()
            self._name(version.id)
        except (ServerUnreachable, NotInDeveloperMode):
            raise
        except HookFailed as error:
            raise LoadFailed(
                f"{error}; the server may be left paused", "is the path visible to it (`paths`)? see its log"
            ) from error
        require_ok(self.server.post("/resume"))

    def observed_version(self) -> str | None:
        answer = self.server.get("/weight_info")
        if answer.status_code in _MISSING:
            return None
        version = str(object_of(answer).get("weight_version", ""))
        return f"{version} (paused)" if self._paused() else version

    def rollback(self, version: Version) -> None:
        self.deploy(version)

    def _pause(self) -> None:
        answer = self.server.post("/pause", params={"mode": self.settings.drain})
        if answer.status_code in _MISSING:
            raise NotInDeveloperMode(said(answer), "start the server with VLLM_SERVER_DEV_MODE=1")
        require_ok(answer)

    def _paused(self) -> bool:
        answer = self.server.get("/is_paused")
        return answer.status_code not in _MISSING and bool(object_of(answer).get("is_paused"))

    def _name(self, version: str) -> None:
        """Name what the server holds, where it knows such names."""
        answer = self.server.post("/update_weight_version", json={"new_version": version})
        if answer.status_code not in _MISSING:
            require_ok(answer)

    def _reset_caches(self) -> None:
        """Newer servers say whether the reset happened: HTTP 200 with `success: false` is a failure."""
        answer = self.server.post("/reset_prefix_cache", params={"reset_running_requests": "true"})
        require_ok(answer)
        if not _succeeded(answer):
            raise HookFailed(f"{said(answer)}: the prefix cache still answers with the old weights")


def _succeeded(answer: httpx.Response) -> bool:
    if not answer.content:
        return True  # older servers answer with an empty body
    try:
        found = answer.json()
    except ValueError:
        return True
    return not isinstance(found, dict) or found.get("success") is not False
