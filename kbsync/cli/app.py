"""The `kbsync` command and its options; the commands themselves are in the other modules of this folder, by theme."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.main
from rich.markup import escape

from kbsync import __version__
from kbsync.cli import (
    applying,
    asking,
    auditing,
    backups,
    benching,
    calibrating,
    deciding,
    demo,
    deployments,
    doctor,
    editing,
    forgetting,
    generating,
    importing,
    inspecting,
    keys,
    ledger,
    packing,
    proving,
    requesting,
    retaining,
    retemplating,
    reviewing,
    served_exam,
    serving,
    setup,
    sources,
    surveying,
    syncing,
    verifying,
    versions,
    webhooks,
)
from kbsync.cli.examples import add_examples
from kbsync.cli.options import DEFAULT_HOME, Globals

app = typer.Typer(
    name="kbsync",
    help="Keep a language model's weights in step with a knowledge base.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


PANELS = {
    "Start here": ("demo", "init", "config", "doctor", "relations", "gates"),
    "Keep a model current": ("sync", "run", "import", "dry-run", "retemplate", "rebuild", "pause", "resume"),
    "See how things stand": (
        "status",
        "sources",
        "facts",
        "edits",
        "runs",
        "checkpoints",
        "deployments",
        "judge-served",
        "webhooks",
        "requests",
        "audit",
    ),
    "Keep it safe": (
        "backup",
        "restore",
        "keys",
        "prove",
        "verify",
        "forget",
        "forgotten",
        "release",
        "retention",
    ),
    "Ask the model": ("survey", "ask", "explain", "build", "diff", "bisect", "pack"),
    "Decide": ("serve", "quarantine", "review", "rollback", "retract", "unretract", "tokens"),
    "Edit any model, without sources": (
        "inspect",
        "calibrate",
        "edit",
        "apply",
        "stats",
        "trace",
        "bench",
        "dataset",
    ),
}
"""How `kbsync --help` groups the commands; one that is named nowhere stands under `Commands`."""


def arrange(app: typer.Typer, panels: Mapping[str, Sequence[str]]) -> None:
    """Put every registered command under its heading."""
    heading = {name: panel for panel, names in panels.items() for name in names}
    for command in app.registered_commands:
        assert command.callback is not None
        command.rich_help_panel = heading.get(command.name or command.callback.__name__, "Commands")
    for group in app.registered_groups:
        group.rich_help_panel = heading.get(str(group.name), "Commands")


def reflow(app: typer.Typer) -> None:
    """Give every command its docstring as help text, a line for each paragraph: the terminal breaks lines."""
    for command in app.registered_commands:
        text = inspect.getdoc(command.callback) or ""
        command.help = "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))
    for group in app.registered_groups:
        if group.typer_instance is not None:
            reflow(group.typer_instance)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kbsync {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    home: Annotated[
        Path, typer.Option(envvar="KBSYNC_HOME", help="Where everything lives: ledger, cache, checkpoints.")
    ] = DEFAULT_HOME,
    config: Annotated[
        Path | None, typer.Option(envvar="KBSYNC_CONFIG", help="Settings file; default: HOME/kbsync.toml.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    context.obj = Globals(home, config)


for part in (
    demo,
    setup,
    doctor,
    syncing,
    importing,
    retemplating,
    sources,
    requesting,
    ledger,
    asking,
    versions,
    packing,
    surveying,
    deciding,
    reviewing,
    serving,
    deployments,
    served_exam,
    webhooks,
    auditing,
    keys,
    proving,
    verifying,
    backups,
    forgetting,
    retaining,
    editing,
    applying,
    inspecting,
    calibrating,
    benching,
    generating,
):
    part.register(app)
arrange(app, PANELS)
reflow(app)
add_examples(app)


def command_line() -> Any:
    """The command with everything below it; help texts are printed as they are written, brackets included.

    Only the examples are rich markup, to which `[retention]` would be a style.
    """
    made = typer.main.get_command(app)
    _take_literally(made)
    return made


def _take_literally(command: Any) -> None:
    for one in (command, *command.params):
        if getattr(one, "help", None):
            one.help = escape(one.help)
    for inner in getattr(command, "commands", {}).values():
        _take_literally(inner)
