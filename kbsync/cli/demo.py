"""`demo`: the whole cycle on a bundled model and a local SPARQL server."""

from __future__ import annotations

from typing import Annotated

import typer

from kbsync.cli.options import Json, globals_of
from kbsync.console import print_json


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    context: typer.Context,
    serve: Annotated[
        bool, typer.Option("--serve", help="Keep the SPARQL server running afterwards, until Ctrl-C.")
    ] = False,
    json: Json = False,
) -> None:
    """Run the whole cycle on a bundled model and a local SPARQL server, in about a minute.

    The home is kept, so that every other command can be tried on it.
    """
    from kbsync.demo.story import tell

    outcome = tell(globals_of(context).home(), serve=serve, quiet=json)
    if json:
        print_json(outcome)
