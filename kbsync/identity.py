"""Who runs this process, as the operating system knows: the actor of a command is only what it claims."""

from __future__ import annotations

import os
import pwd
import socket
from functools import cache
from pathlib import Path

_LOGIN = Path("/proc/self/loginuid")
_NOBODY_LOGGED_IN = 2**32 - 1
"""What Linux gives for processes that no login started: services, containers (audit(8))."""


@cache
def of_process() -> str:
    """Such as `alice (uid 1000) on build-7`.

    After `su` or `sudo` also who logged in, where the kernel keeps that: `root (uid 0) on build-7,
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
    """The user who logged in; None where nobody did or the kernel does not say."""
    try:
        uid = int(_LOGIN.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return None if uid == _NOBODY_LOGGED_IN else uid
