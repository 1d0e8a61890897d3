"""Running a program of the operator: started without a shell, bounded in time and output.

Deploy hooks of kind `exec` and gate commands are such programs.  A program leads a process group of its own, which is
killed after its time, or as soon as its result is no longer needed.
"""

from __future__ import annotations

import os
import re
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from kbsync.errors import BadConfiguration, KbsyncError
from kbsync.visible import visible

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_POLL_S = 0.1
_LAST_WORDS = 400
"""Maximum number of characters of a program's stderr in a message."""
_KEPT_BYTES = 1 << 16
"""Number of bytes kept of stdout (the first) and of stderr (the last); the rest is read and discarded."""
_PIPE_BYTES = 1 << 20
"""More than a pipe holds on Linux by default, so one read gets everything that an ended program wrote."""


class ProgramFailed(KbsyncError):
    """A program could not be started, did not end in time, or ended with another status than 0."""


@dataclass(frozen=True, slots=True)
class ProgramLimits:
    """When a program is killed."""

    timeout_s: float
    check: Callable[[], None] = lambda: None
    """Called several times a second while it runs; the program is killed if this raises."""


def missing(arguments: Sequence[str]) -> BadConfiguration | None:
    """The error in the settings, if there is no such program."""
    if shutil.which(arguments[0]) is not None:
        return None
    return BadConfiguration(
        f"there is no program {arguments[0]}, or it may not be executed",
        "give its absolute path, and make it executable",
    )


def check_placeholders(arguments: Iterable[str], known: Collection[str]) -> None:
    """Raise ValueError for a placeholder in braces that `filled` would leave as it is."""
    for argument in arguments:
        if unknown := sorted(set(_PLACEHOLDER.findall(argument)).difference(known)):
            raise ValueError(f"{{{unknown[0]}}} is not one of {', '.join(sorted(known))}")


def filled(argument: str, values: Mapping[str, str]) -> str:
    """The argument with every `{name}` replaced by its value."""
    for name, value in values.items():
        argument = argument.replace(f"{{{name}}}", value)
    return argument


def run_program(
    arguments: Sequence[str], environment: Mapping[str, str], limits: ProgramLimits, *, purpose: str
) -> str:
    """The program's stdout, at most its first 64 KiB; `purpose` names it in errors.

    Raises ProgramFailed, with the end of what it wrote to stderr, and whatever `limits.check` raises.
    """
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
        raise ProgramFailed(
            f"{arguments[0]} cannot be started: {error.strerror or error}", "give its absolute path"
        ) from error
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = _Kept(process.stdout, first=True), _Kept(process.stderr, first=False)
    status = _wait(process, limits, (out, err), purpose)
    if status != 0:
        words = " ".join(err.text.split())[-_LAST_WORDS:]
        raise ProgramFailed(
            f"{arguments[0]} ({purpose}) ended with status {status}: {visible(words) or 'nothing on stderr'}"
        )
    return out.text


def _wait(
    process: subprocess.Popen[bytes], limits: ProgramLimits, outputs: tuple[_Kept, ...], purpose: str
) -> int:
    """Its exit status."""
    deadline = time.monotonic() + limits.timeout_s
    with selectors.DefaultSelector() as selector:
        for output in outputs:
            selector.register(output.pipe, selectors.EVENT_READ, output)
        try:
            while process.poll() is None:
                limits.check()
                if time.monotonic() >= deadline:
                    raise ProgramFailed(f"the program of `{purpose}` was killed after {limits.timeout_s:g} s")
                for key, _ in selector.select(_POLL_S):
                    if not key.data.read():
                        selector.unregister(key.fileobj)
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
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
        threading.Thread(target=_discard, args=(self.pipe,), name="program output", daemon=True).start()


def _discard(pipe: IO[bytes]) -> None:
    with pipe:
        while os.read(pipe.fileno(), _KEPT_BYTES):
            pass
