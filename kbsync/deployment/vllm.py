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

A reload alone keeps prefix caches of the old weights.  The name `loading …` is set first, so that an interrupted
reload never leaves the old name on new weights.  For servers without a weight version (404 on `/weight_info`),
only the canary facts are accepted as proof.

Before anything is paused, the server's own list of requests (`GET /openapi.json`, if it has one) is checked for
those of a reload.  If an attempt ends before a reload can have begun, the old name is restored and the server
resumes.  After any other failure it stays paused until a version is loaded completely, so that no request is
answered from partly loaded weights; a later attempt that is refused does not resume it either.
"""

from __future__ import annotations

import re

from kbsync.deployment.hooks import (
    Call,
    HookFailed,
    LoadFailed,
    ServerUnreachable,
    Version,
    mapped,
    version_named,
)
from kbsync.deployment.http import Server, described, flag_of, json_of, object_of, require_ok
from kbsync.settings.servers import VllmSettings

_MISSING = (404, 405, 501)
"""Status codes for a request that the server's version does not have."""
_REFUSED = (400, 401, 403, 404, 405, 415, 422, 501)
"""Status codes for a request that was refused, so that no worker received it."""
_NEEDED = ("/pause", "/resume", "/collective_rpc", "/reset_prefix_cache")


_LOADING = "loading "
"""How the name of a version begins while it is loaded."""


class CannotPause(HookFailed):
    """The server lacks a request that a reload needs: it was not paused."""


class CannotReload(HookFailed):
    """None of the server's workers began to load: its weights are unchanged, but it may be paused."""


class VllmHook:
    def __init__(self, settings: VllmSettings, call: Call) -> None:
        self.settings = settings
        self.server = Server(settings.url, settings.token(), call.timeout_s)

    def deploy(self, version: Version) -> None:
        path = mapped(version.path, self.settings.paths)
        self._require_requests()
        before = self._weight_version()
        in_doubt = self._in_doubt(before)
        try:
            self._prepare(version)
            self._reload(path)
            self._reset_caches()
            self._name(version.id)
        except (ServerUnreachable, CannotPause):
            raise
        except HookFailed as error:
            if isinstance(error, CannotReload) and not in_doubt:
                raise CannotReload(f"{error}; {self._resumed_as(before)}", error.advice) from error
            raise LoadFailed(
                f"{error}; the server is left paused, since its weights are in doubt",
                "is the path visible to it (`paths`)? see its log; the next deploy that succeeds resumes it",
            ) from error
        self._resume()

    def observed_version(self) -> str | None:
        version = self._weight_version()
        if version is None:
            return None
        return f"{version} (paused)" if self._paused() else version

    def rollback(self, version: Version) -> None:
        self.deploy(version)

    def _require_requests(self) -> None:
        """Raises CannotPause if the server lists its requests and one of ours is not among them."""
        answer = self.server.get("/openapi.json")
        if not answer.is_success:
            return  # switched off, as `--disable-fastapi-docs` does: the requests themselves will tell
        try:
            found = json_of(answer)
        except HookFailed:
            return
        paths = found.get("paths") if isinstance(found, dict) else None
        if isinstance(paths, dict) and (missing := [path for path in _NEEDED if path not in paths]):
            raise CannotPause(
                f"{self.settings.url} has no {', '.join(missing)}: it cannot reload weights",
                "start the server with VLLM_SERVER_DEV_MODE=1",
            )

    def _in_doubt(self, version: str | None) -> bool:
        """Whether an earlier load may have ended halfway: the server is paused, and no name vouches for its weights."""
        return (version is None or version.startswith(_LOADING)) and self._paused()

    def _prepare(self, version: Version) -> None:
        """Pause the server and withdraw the name of its version; nothing is loaded yet.

        Raises CannotPause if the server has no such request, CannotReload if either step fails.
        """
        try:
            answer = self.server.post("/pause", params={"mode": self.settings.drain})
            if answer.status_code in _MISSING:
                raise CannotPause(described(answer), "start the server with VLLM_SERVER_DEV_MODE=1")
            require_ok(answer)
            self._name(f"{_LOADING}{version.id}")
        except (ServerUnreachable, CannotPause):
            raise
        except HookFailed as error:
            raise CannotReload(str(error), error.advice) from error

    def _reload(self, path: str) -> None:
        """Raises CannotReload if the answer proves that no weight was changed, HookFailed otherwise."""
        request = {"method": "reload_weights", "kwargs": {"weights_path": path}}
        answer = self.server.post("/collective_rpc", json=request)
        if answer.status_code in _REFUSED:
            raise CannotReload(described(answer), "is this a vLLM server with VLLM_SERVER_DEV_MODE=1?")
        if answer.status_code == 500 and "unexpected keyword argument" in answer.text:
            raise CannotReload(
                described(answer), "this version cannot load weights from another path: use a newer one"
            )
        if answer.status_code == 500 and _names_no_directory(answer.text, path) and self._has_one_worker():
            raise CannotReload(described(answer), "the server does not see that path: map it with `paths`")
        require_ok(answer)

    def _has_one_worker(self) -> bool:
        """False if the directory that one worker misses may be there for another, which has loaded it.

        Versions without `GET /get_world_size` count as one worker.
        """
        answer = self.server.get("/get_world_size")
        return answer.status_code in _MISSING or object_of(answer).get("world_size") == 1

    def _resumed_as(self, before: str | None) -> str:
        """Let the server continue with its current weights; returns the outcome in words."""
        unnamed = ""
        try:
            if before is not None:
                self._name(before)
        except HookFailed as error:
            unnamed = f", but under the wrong name: {error}"
        try:
            self._resume()
        except HookFailed as error:
            return f"it could not be resumed either: {error}"
        return f"no weight was touched, and the server goes on as before{unnamed}"

    def _resume(self) -> None:
        """Tried twice, since a paused server answers nobody."""
        answer = self.server.post("/resume")
        require_ok(answer if answer.is_success else self.server.post("/resume"))

    def _weight_version(self) -> str | None:
        answer = self.server.get("/weight_info")
        if answer.status_code in _MISSING:
            return None
        return version_named(str(object_of(answer).get("weight_version", "")))

    def _paused(self) -> bool:
        answer = self.server.get("/is_paused")
        return answer.status_code not in _MISSING and bool(object_of(answer).get("is_paused"))

    def _name(self, version: str) -> None:
        """Set the name of the server's version, if it supports names."""
        answer = self.server.post("/update_weight_version", json={"new_version": version})
        if answer.status_code not in _MISSING:
            require_ok(answer)

    def _reset_caches(self) -> None:
        """Newer servers report whether the reset happened: HTTP 200 with `success: false` is a failure."""
        answer = self.server.post("/reset_prefix_cache", params={"reset_running_requests": "true"})
        require_ok(answer)
        if flag_of(answer, "success") is False:  # older servers answer with an empty body
            raise HookFailed(f"{described(answer)}: the prefix cache still answers with the old weights")


def _names_no_directory(text: str, path: str) -> bool:
    """Whether a server complains that the directory `path` itself does not exist.

    A file missing *in* it may be the second shard of a load that has begun; the directory is checked before any
    weight is read.
    """
    complains = re.search(r"no such file|not found|does not exist|cannot find", text, re.IGNORECASE)
    return bool(complains) and re.search(rf"{re.escape(path)}(?![\w/.-])", text) is not None
