"""The kind `exec`: a program of the operator, given as a list and started without a shell.

It sees KBSYNC_ACTION (`deploy`, `rollback` or `observe`), KBSYNC_VERSION, KBSYNC_PATH and
KBSYNC_DIGEST, the token (if one is configured) as KBSYNC_TOKEN, the basic variables of
`kbsync.environments`, and those that `environment` names; nothing else of the daemon's environment.
{version}, {path} and {digest} are filled in among its arguments.  Exit status 0 is success; the end
of what it writes to stderr goes into the log.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from typing import IO

from kbsync.deployment.hooks import Call, HookFailed, Version, mapped, version_named
from kbsync.environments import minimal
from kbsync.settings.deploy import ExecSettings
from kbsync.visible import visible

_POLL_S = 0.1
_LAST_WORDS = 400
"""Maximum number of characters of a failed program's stderr in the error message."""
_KEPT_BYTES = 1 << 16
"""Number of bytes kept of stdout (the first) and of stderr (the last); the rest is read and discarded."""
_PIPE_BYTES = 1 << 20
"""More than a pipe holds on Linux by default, so one read gets everything that an ended program wrote."""


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
        arguments = [_filled(argument, facts) for argument in command]
        environment = minimal(named=self.settings.environment) | {"KBSYNC_ACTION": action}
        environment |= {f"KBSYNC_{name.upper()}": value for name, value in facts.items()}
        if (token := self.settings.token()) is not None:
            environment["KBSYNC_TOKEN"] = token
        try:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise HookFailed(
                f"{arguments[0]} cannot be started: {error.strerror or error}", "give its absolute path"
            ) from error
        assert process.stdout is not None
        assert process.stderr is not None
        out, err = _Kept(process.stdout, first=True), _Kept(process.stderr, first=False)
        status = self._wait(process, action, (out, err))
        if status != 0:
            words = " ".join(err.text.split())[-_LAST_WORDS:]
            raise HookFailed(
                f"{arguments[0]} ({action}) ended with status {status}: {visible(words) or 'nothing on stderr'}"
            )
        return out.text

    def _wait(self, process: subprocess.Popen[bytes], action: str, outputs: tuple[_Kept, ...]) -> int:
        """Its exit status; its process group is killed after the timeout, or when its result is no longer needed."""
        deadline = time.monotonic() + self.call.timeout_s
        with selectors.DefaultSelector() as selector:
            for output in outputs:
                selector.register(output.pipe, selectors.EVENT_READ, output)
            try:
                while process.poll() is None:
                    if self.call.abandoned.is_set() or time.monotonic() >= deadline:
                        os.killpg(process.pid, signal.SIGKILL)
                        process.wait()
                        raise HookFailed(
                            f"the program of `{action}` was killed after {self.call.timeout_s:g} s"
                        )
                    for key, _ in selector.select(_POLL_S):
                        if not key.data.read():
                            selector.unregister(key.fileobj)
            finally:
                for output in outputs:
                    output.finish()
        return process.returncode


class _Kept:
    """A pipe that is read to the end, keeping a bounded part of the output."""

    def __init__(self, pipe: IO[bytes], *, first: bool) -> None:
        self.pipe = pipe
        self._first = first
        self._bytes = bytearray()
        os.set_blocking(pipe.fileno(), False)

    @property
    def text(self) -> str:
        return self._bytes.decode(errors="replace")

    def read(self) -> int:
        """Read what is available; 0 at the end of the pipe.  Raises BlockingIOError if nothing is available yet."""
        piece = os.read(self.pipe.fileno(), _KEPT_BYTES)
        self._bytes += piece
        if self._first:
            del self._bytes[_KEPT_BYTES:]
        else:
            del self._bytes[:-_KEPT_BYTES]
        return len(piece)

    def finish(self) -> None:
        """Read what an ended program left in the pipe.

        A child process that it left behind may keep the pipe open forever: from then on a thread drains it, so that
        the child neither blocks nor is killed by SIGPIPE, and the daemon does not wait for it.
        """
        taken = 0
        try:
            while taken < _PIPE_BYTES and (size := self.read()):
                taken += size
        except BlockingIOError:
            size = 1
        if not size:
            self.pipe.close()
            return
        os.set_blocking(self.pipe.fileno(), True)
        threading.Thread(target=_discard, args=(self.pipe,), name="deploy hook output", daemon=True).start()


def _discard(pipe: IO[bytes]) -> None:
    with pipe:
        while os.read(pipe.fileno(), _KEPT_BYTES):
            pass


def _filled(argument: str, facts: Mapping[str, str]) -> str:
    for name, value in facts.items():
        argument = argument.replace(f"{{{name}}}", value)
    return argument
