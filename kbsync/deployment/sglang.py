"""SGLang: `POST /update_weights_from_disk`, which waits for running requests, loads and flushes the cache.

The requests follow its "SGLang for RL Systems" and `entrypoints/http_server.py`:

    POST /update_weights_from_disk {"model_path", "weight_version", "flush_cache", "abort_all_requests"}
         200 {"success": true, …}, 400 {"success": false, "message": …}
    GET  /model_info {"model_path", "weight_version", …}; /get_model_info in older releases

A failed load may leave part of the new weights under the old version's name; LoadFailed is raised, so that the
previous version is pushed explicitly by its path.
"""

from __future__ import annotations

from kbsync.deployment.hooks import Call, HookFailed, LoadFailed, Version, mapped, version_named
from kbsync.deployment.http import Server, described, flag_of, object_of
from kbsync.settings.servers import SglangSettings


class SglangHook:
    def __init__(self, settings: SglangSettings, call: Call) -> None:
        self.settings = settings
        self.server = Server(settings.url, settings.token(), call.timeout_s)

    def deploy(self, version: Version) -> None:
        answer = self.server.post(
            "/update_weights_from_disk",
            json={
                "model_path": mapped(version.path, self.settings.paths),
                "weight_version": version.id,
                "flush_cache": True,
                "abort_all_requests": self.settings.abort_requests,
            },
        )
        if answer.status_code in (401, 403, 404, 405):
            raise HookFailed(described(answer), "is this an SGLang server, and is its token right?")
        if not (answer.is_success and flag_of(answer, "success")):  # a status of 200 alone is not enough
            raise LoadFailed(described(answer), "is the path visible to it (`paths`)? see its log")

    def observed_version(self) -> str | None:
        answer = self.server.get("/model_info")
        if answer.status_code == 404:
            answer = self.server.get("/get_model_info")
        version = object_of(answer).get("weight_version")
        return None if version is None else version_named(str(version))

    def rollback(self, version: Version) -> None:
        self.deploy(version)
