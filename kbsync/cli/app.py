"""The `kbsync` command and its options; the commands themselves lie beside this file, by theme."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kbsync import __version__
from kbsync.cli import asking, auditing, demo, ledger, reviewing, setup, syncing
from kbsync.cli.options import DEFAULT_HOME, Globals

app = typer.Typer(
    name="kbsync",
    help="Keep a language model's weights in step with a knowledge base.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


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


for part in (setup, syncing, ledger, reviewing, asking, auditing, demo):
    part.register(app)
