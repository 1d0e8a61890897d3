"""`demo`: the whole cycle on a bundled model and a local SPARQL server."""

from __future__ import annotations

from typing import Annotated

import typer

from kbsync.cli.options import Json, globals_of
from kbsync.console import print_json
from kbsync.errors import StoryInterrupted, UsageError


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    context: typer.Context,
    serve: Annotated[
        bool, typer.Option("--serve", help="Keep the SPARQL server running afterwards, until Ctrl-C.")
    ] = False,
    pretrained: Annotated[
        bool,
        typer.Option(
            "--pretrained",
            help="Run a short story on a real pretrained chat model instead, asked through its chat template; "
            "the model is set up first (a download of 93 MB, once).",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Run the whole cycle on a bundled model and a local SPARQL server, in about a minute.

    The home is kept, so that every other command can be tried on it.
    """
    from kbsync.demo import chat, story

    if pretrained and serve:
        raise UsageError(
            "--serve keeps a SPARQL server running, which the story on a pretrained model does not have",
            "leave out --pretrained or --serve",
        )
    home = globals_of(context).home()
    try:
        outcome = chat.tell(home, quiet=json) if pretrained else story.tell(home, serve=serve, quiet=json)
    except KeyboardInterrupt as error:
        raise StoryInterrupted(
            f"the story does not continue; the same command starts it again and replaces {home.root}",
            f"to see how far it came: `kbsync --home {home.root} status`",
        ) from error
    if json:
        print_json(outcome)
