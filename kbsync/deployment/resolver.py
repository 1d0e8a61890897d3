"""The kind `resolver`: adapters in the directory of vLLM's `lora_filesystem_resolver`.

The servers are started with VLLM_PLUGINS=lora_filesystem_resolver, VLLM_LORA_RESOLVER_CACHE_DIR=<path> and
VLLM_ALLOW_RUNTIME_LORA_UPDATING=true.  A request that names an adapter which a server does not have makes it load the
folder of that name, if `base_model_name_or_path` in its adapter_config.json is the server's `--model`: so a server that
was restarted needs nobody to tell it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from editing.durable import STAGING, fsync_directory, link_or_copy, staging_name, sweep, write_file
from editing.errors import EditingError
from kbsync.deployment.adapters import FOLDER, AdapterHook
from kbsync.deployment.hooks import Call, HookFailed, Version
from kbsync.deployment.http import Server
from kbsync.deployment.lora_servers import VllmLora
from kbsync.deployment.replicas import each
from kbsync.settings.servers import ResolverSettings

_CONFIG = "adapter_config.json"


class ResolverHook(AdapterHook):
    """Adapters in a directory."""

    def __init__(self, settings: ResolverSettings, call: Call, now: Callable[[], datetime]) -> None:
        super().__init__(settings, call, now, VllmLora)
        self.directory = settings.path
        self.base_model = settings.base_model
        self._source: Path | None = None

    def deploy(self, version: Version) -> None:
        self._source = version.path / FOLDER
        super().deploy(version)

    def stores(self) -> tuple[str, ...]:
        return (str(self.directory),)

    def server(self, store: str) -> Directory:
        return Directory(self.directory, self.base_model, self._source, self._unload)

    def _unload(self, name: str) -> None:
        """Unload an adapter from the replicas that have resolved it."""
        token, timeout_s = self.settings.token(), self.call.timeout_s
        _, errors = each(self.replicas(), lambda url: VllmLora(Server(url, token, timeout_s)).unload(name))
        for error in errors.values():
            raise error


class Directory:
    """A folder for each adapter; appears and vanishes as a whole."""

    def __init__(
        self, root: Path, base_model: str, source: Path | None, unload: Callable[[str], None]
    ) -> None:
        self.root = root
        self.base_model = base_model
        self.source = source
        self._unload = unload

    def loaded(self) -> dict[str, str]:
        try:
            folders = [file.parent for file in self.root.glob(f"*/{_CONFIG}")]
        except OSError as error:
            raise HookFailed(f"{self.root} cannot be read: {error}") from error
        return {folder.name: str(folder) for folder in folders if not folder.name.startswith(STAGING)}

    def load(self, name: str, path: str) -> None:
        assert self.source is not None  # `deploy` has set it
        target, staging = self.root / name, staging_name(self.root / name)
        try:
            staging.mkdir(parents=True)
            for file in self.source.iterdir():
                if file.name != _CONFIG:
                    link_or_copy(file, staging / file.name)
            config = json.loads((self.source / _CONFIG).read_bytes())
            config["base_model_name_or_path"] = self.base_model
            write_file(staging / _CONFIG, json.dumps(config, indent=1).encode() + b"\n")
            staging.rename(target)
            fsync_directory(self.root)
        except (OSError, ValueError, EditingError) as error:
            shutil.rmtree(staging, ignore_errors=True)
            raise HookFailed(
                f"{target} cannot be written: {error}", "does `path` exist, and may kbsync write to it?"
            ) from error

    def unload(self, name: str) -> None:
        """Remove the folder, so that no server loads it again, and have the servers unload it."""
        doomed = self.root / name
        try:
            if doomed.exists():
                doomed.rename(staging_name(doomed))
            sweep(self.root)
        except OSError as error:
            raise HookFailed(f"{doomed} cannot be removed: {error}") from error
        self._unload(name)

    def model(self, name: str) -> str:
        return name
