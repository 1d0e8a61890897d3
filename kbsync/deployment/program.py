"""The kind `exec`: a program of the operator, given as a list and started without a shell.

It sees KBSYNC_ACTION (`deploy`, `rollback` or `observe`), KBSYNC_VERSION, KBSYNC_PATH and
KBSYNC_DIGEST, the token (if one is configured) as KBSYNC_TOKEN, the basic variables of
`kbsync.environments`, and those that `environment` names; nothing else of the daemon's environment.
{version}, {path} and {digest} are filled in among its arguments.  Exit status 0 is success; the end
of what it writes to stderr goes into the log.
"""

from __future__ import annotations

from collections.abc import Mapping

from kbsync import telemetry
from kbsync.deployment.hooks import Call, HookFailed, Version, mapped, version_named
from kbsync.environments import minimal
from kbsync.programs import ProgramFailed, ProgramLimits, filled, run_program
from kbsync.settings.deploy import ExecSettings


class ProgramHook:
    def __init__(self, settings: ExecSettings, call: Call) -> None:
        self.settings = settings
        self.call = call

    def deploy(self, version: Version) -> None:
        self._run(self.settings.deploy, "deploy", self._facts(version))

    def observed_version(self) -> str | None:
        """Stdout of `observe`; None without such a program."""
        if not self.settings.observe:
            return None
        return version_named(self._run(self.settings.observe, "observe", {}))

    def rollback(self, version: Version) -> None:
        self._run(self.settings.rollback or self.settings.deploy, "rollback", self._facts(version))

    def _facts(self, version: Version) -> dict[str, str]:
        path = mapped(version.path, self.settings.paths)
        return {"version": version.id, "path": path, "digest": version.digest}

    def _run(self, command: tuple[str, ...], action: str, facts: Mapping[str, str]) -> str:
        """The program's stdout; raises HookFailed if it cannot start, fails or times out."""
        environment = minimal(named=self.settings.environment) | {"KBSYNC_ACTION": action}
        environment |= telemetry.environment()
        environment |= {f"KBSYNC_{name.upper()}": value for name, value in facts.items()}
        if (token := self.settings.token()) is not None:
            environment["KBSYNC_TOKEN"] = token
        arguments = [filled(argument, facts) for argument in command]
        try:
            return run_program(
                arguments, environment, ProgramLimits(self.call.timeout_s, self._check), purpose=action
            )
        except ProgramFailed as error:
            raise HookFailed(str(error), error.advice) from error

    def _check(self) -> None:
        if self.call.abandoned.is_set():
            raise HookFailed("its result is no longer needed, so it was killed")
