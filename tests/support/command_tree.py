"""Every command of the command line, by what is typed after `kbsync`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main

from kbsync.cli.app import app


def commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    command = command or typer.main.get_command(app)
    inner = getattr(command, "commands", None)
    if path and (inner is None or command.invoke_without_command):
        yield " ".join(path), command
    for name in inner or ():
        yield from commands(inner[name], (*path, name))
