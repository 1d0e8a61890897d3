"""The command line: `main` runs a command and turns what went wrong into one clear line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence

HOISTED = ("--home", "--config")


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `kbsync`; exits with the codes that docs/commands.md lists."""
    from kbsync.cli.app import command_line
    from kbsync.cli.failures import INTERRUPTED, exit_code_of

    arguments = hoist(list(sys.argv[1:] if argv is None else argv))
    try:
        # Without its standalone mode typer raises what is wrong instead of printing it as it was typed.
        code = command_line()(arguments, prog_name="kbsync", standalone_mode=False)
        if code == INTERRUPTED:  # typer turns Ctrl-C into this code
            exit_code_of(KeyboardInterrupt())
        sys.exit(code or 0)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  the one place where everything ends
        sys.exit(exit_code_of(error))


def hoist(arguments: list[str]) -> list[str]:
    """Move `--home DIR` and `--config FILE` to the front: they may be typed before or after the command."""
    front: list[str] = []
    rest: list[str] = []
    pending = iter(arguments)
    for argument in pending:
        if argument == "--":
            rest += [argument, *pending]
        elif argument in HOISTED:
            front += [argument, *[value for value in [next(pending, None)] if value is not None]]
        elif argument.startswith(tuple(f"{option}=" for option in HOISTED)):
            front.append(argument)
        else:
            rest.append(argument)
    return front + rest
