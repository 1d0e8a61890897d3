"""The kind `exec`: a program of the operator's own, given as a list and started without a shell.

It sees KBSYNC_ACTION (`deploy`, `rollback` or `observe`), KBSYNC_VERSION, KBSYNC_PATH and
KBSYNC_DIGEST, the token (if one is configured) as KBSYNC_TOKEN, and {version}, {path} and {digest}
filled in among its arguments.  Exit status 0 is success; what it says on stderr goes into the log.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping

from kbsync.deployment.hooks import Call, HookFailed, Version, mapped
from kbsync.settings.deploy import ExecSettings

_POLL_S = 0.1
_SAID = 400
"""Characters of a program's last words that are worth keeping."""


class ProgramHook:
    def __init__(self, settings: ExecSettings, call: Call) -> None:
        self.settings = settings
        self.call = call

    def deploy(self, version: Version) -> None:
        self._run(self.settings.deploy, "deploy", self._facts(version))

    def observed_version(self) -> str | None:
        """Stdout of `observe`; None without one."""
        if not self.settings.observe:
            return None
        return self._run(self.settings.observe, "observe", {}).strip()

    def rollback(self, version: Version) -> None:
        self._run(self.settings.rollback or self.settings.deploy, "rollback", self._facts(version))

    def _facts(self, version: Version) -> dict[str, str]:
        path = mapped(version.path, self.settings.paths)
        return {"version": version.id, "path": path, "digest": version.digest}

    def _run(self, command: tuple[str, ...], action: str, facts: Mapping[str, str]) -> str:
        arguments = [_filled(argument, facts) for argument in command]
        environment = {**os.environ, "KBSYNC_ACTION": action}
        environment |= {f"KBSYNC_{name.upper()}": value for name, value in facts.items()}
        if (token := self.settings.token()) is not None:
            environment["KBSYNC_TOKEN"] = token
        # Files, not pipes: a background process that keeps a pipe open would keep us waiting for its end.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                process = subprocess.Popen(
                    arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    env=environment,
                    start_new_session=True,
                )
            except OSError as error:
                raise HookFailed(
                    f"{arguments[0]} cannot be started: {error.strerror or error}", "give its absolute path"
                ) from error
            status = self._wait(process, action)
            out.seek(0)
            err.seek(0)
            if status != 0:
                words = " ".join(err.read().decode(errors="replace").split())[-_SAID:]
                raise HookFailed(
                    f"{arguments[0]} ({action}) ended with status {status}: {words or 'no words'}"
                )
            return out.read(1 << 16).decode(errors="replace")

    def _wait(self, process: subprocess.Popen[bytes], action: str) -> int:
        """Its exit status; its whole group is killed when its time is up or nobody waits any more."""
        deadline = time.monotonic() + self.call.timeout_s
        while True:
            try:
                return process.wait(_POLL_S)
            except subprocess.TimeoutExpired:
                if not self.call.abandoned.is_set() and time.monotonic() < deadline:
                    continue
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise HookFailed(
                    f"the program of `{action}` was killed after {self.call.timeout_s:g} s"
                ) from None


def _filled(argument: str, facts: Mapping[str, str]) -> str:
    for name, value in facts.items():
        argument = argument.replace(f"{{{name}}}", value)
    return argument
