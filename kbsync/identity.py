"""The user who runs this process, according to the operating system; a command's `actor` is only a claim."""

from __future__ import annotations

import os
import pwd
import socket
from functools import cache
from pathlib import Path

_LOGIN = Path("/proc/self/loginuid")
_NOBODY_LOGGED_IN = 2**32 - 1
"""The value that Linux reports for processes that no login started: services, containers (audit(8))."""


@cache
def of_process() -> str:
    """The user and host, such as `alice (uid 1000) on build-7`.

    After `su` or `sudo` this includes who logged in, if the kernel records it: `root (uid 0) on build-7,
    logged in as alice (uid 1000)`.
    """
    user, login = os.geteuid(), _login()
    logged_in = "" if login is None or login == user else f", logged in as {_named(login)}"
    return f"{_named(user)} on {socket.gethostname()}{logged_in}"


def _named(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:  # a container without that user
        return f"uid {uid}"


def _login() -> int | None:
    """The user who logged in; None if there was no login or the kernel does not record it."""
    try:
        uid = int(_LOGIN.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return None if uid == _NOBODY_LOGGED_IN else uid
